"""A tabletop with the real daemon and engine on machines that are folders of this host, and charms for it."""

import contextlib
import io
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import jubilant
import pytest
import yaml

from tabletop import cli, client
from tabletop.client import Client

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS / "engine"))

from daemons import OneDaemon, end, paths_in, spawn, variables  # noqa: E402
from leftovers import short_directory  # noqa: E402

BINARY = Path(sys.executable).parent / "tabletop"
_PATIENCE_S = 60.0
_METADATA = ("name", "summary", "description", "provides", "requires", "peers", "resources", "subordinate", "storage")


@contextlib.contextmanager
def tabletop_on_host() -> Generator[Path]:
    """Run a daemon of its own; return the folder it lives in. Clients find it by the environment."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        paths = paths_in(directory)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables(paths).items():
            patch.setenv(name, value)
        patch.delenv("JUJU_MODEL", raising=False)
        log = stack.enter_context((directory / "daemon.log").open("wb"))
        process = spawn(paths, log)
        stack.callback(end, process, _PATIENCE_S)
        daemon = Client(paths)
        deadline = time.monotonic() + _PATIENCE_S
        while not daemon.running():
            assert process.poll() is None, (directory / "daemon.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Should it die, no other is to be started: that one would make real machines.
        patch.setattr(client.Client, "start", OneDaemon.start)
        yield directory
        models = yaml.safe_load(tabletop("models", "--format", "yaml").stdout)["models"]
        for model in models:
            assert tabletop("destroy-model", model["short-name"], "--no-prompt").returncode == 0


def tabletop(*words: object, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command line in this process, which takes a tenth of the time that one of its own takes."""
    argv = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.StringIO(stdin or "")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(argv)
    finally:
        sys.stdin = before
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


class InProcess(jubilant.Juju):
    """jubilant as it is, but that the command line runs in this process."""

    def __init__(self, *, model: str | None = None, wait_timeout: float = 60.0) -> None:
        super().__init__(model=model, wait_timeout=wait_timeout, cli_binary=BINARY)

    def wait(
        self,
        ready: Callable[[jubilant.Status], bool],
        *,
        error: Callable[[jubilant.Status], bool] | None = None,
        delay: float = 0.05,
        timeout: float | None = None,
        successes: int = 3,
    ) -> jubilant.Status:
        """Wait as jubilant does, but look more often: here hooks take a fraction of a second."""
        return super().wait(ready, error=error, delay=delay, timeout=timeout, successes=successes)

    def _cli(
        self,
        *args: str,
        include_model: bool = True,
        stdin: str | None = None,
        log: bool = True,
        timeout: float | None = None,
    ) -> tuple[str, str]:
        if include_model and self.model is not None:
            args = (args[0], "--model", self.model, *args[1:])
        done = tabletop(*args, stdin=stdin)
        if done.returncode:
            raise jubilant.CLIError(done.returncode, ["tabletop", *args], done.stdout, done.stderr)
        return done.stdout, done.stderr


def ops_charm(folder: Path, target: Path, changes: dict[str, Any] | None = None) -> Path:
    """Pack a charm on ops so that it runs with the tests' own Python.

    Args:
        folder: the charm's.
        target: the file to write.
        changes: laid over the top of its charmcraft.yaml.
    """
    data: dict[str, Any] = {**yaml.safe_load((folder / "charmcraft.yaml").read_text()), **(changes or {})}
    files = {
        "metadata.yaml": yaml.safe_dump({key: data[key] for key in _METADATA if key in data}),
        "config.yaml": yaml.safe_dump(data.get("config") or {}),
        "actions.yaml": yaml.safe_dump(data.get("actions") or {}),
        "src/charm.py": (folder / "src/charm.py").read_text(),
    }
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        dispatch = zipfile.ZipInfo("dispatch")
        dispatch.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(dispatch, f"#!/bin/sh\nexec {sys.executable} ./src/charm.py\n")
    return target


def settled(status: jubilant.Status) -> bool:
    """Tell whether all is active and nothing is left to do."""
    return jubilant.all_active(status) and jubilant.all_agents_idle(status)
