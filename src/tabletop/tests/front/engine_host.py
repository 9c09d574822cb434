"""A tabletop with the real daemon and engine on machines that are folders of this host, and charms for it."""

import contextlib
import stat
import sys
import time
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jubilant
import pytest
import yaml

from tabletop import client
from tabletop.client import Client

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "engine"), str(TESTS / "front")]

from daemons import OneDaemon, end, paths_in, spawn, variables  # noqa: E402
from in_process import tabletop  # noqa: E402
from leftovers import short_directory  # noqa: E402

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
