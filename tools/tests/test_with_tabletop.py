"""A command with a tabletop of its own: what was made is removed, however the command ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent
# Notes how it was called, as what, and where its state is.
FAKE = '#!/bin/sh\necho "${0##*/} $* in $TABLETOP_STATE" >>"$LOG"\n[ ! -e "$LOG.no-$1" ]\n'


class Rig:
    """A repository with the tools, a tabletop that only notes what it was told, and nothing to build."""

    def __init__(self, root: Path) -> None:
        self.log = root / "log"
        self.errors = root / "errors"
        self.python = root / "bin/python"
        self.tool = root / "tools/with_tabletop.py"
        for folder in ("bin", "tools", "resources"):
            (root / folder).mkdir()
        for path in TOOLS.glob("*.py"):
            shutil.copy2(path, root / "tools")
        # A virtual environment is where its pyvenv.cfg is; the interpreter is this one.
        (root / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
        self.python.symlink_to(Path(sys.executable).resolve())
        (root / "bin/tabletop").write_text(FAKE)
        (root / "bin/tabletop").chmod(0o755)
        (root / "resources/build.py").write_text("print('resources are there')\n")
        self.environment = {**os.environ, "LOG": str(self.log), "TABLETOP_STATE": "/that/of/the/caller"}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        words = [str(self.python), str(self.tool), *command]
        with self.errors.open("w") as errors:
            return subprocess.Popen(words, env=self.environment, stderr=errors)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for(self, text: str) -> None:
        while not (self.log.exists() and text in self.log.read_text()):
            time.sleep(0.02)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


DESTROYED = "tabletop destroy --no-prompt in /var/lib/tabletop-test"


def test_the_command_finds_tabletop_as_juju(rig: Rig):
    process = rig.start("sh", "-c", "juju status; exit 7")
    assert process.wait() == 7
    calls = rig.calls()
    assert calls[:2] == [
        DESTROYED,
        "tabletop bootstrap --include openjdk-17-jre-headless in /var/lib/tabletop-test",
    ]
    assert len([call for call in calls if call.startswith("tabletop pack ")]) == 10
    assert calls[-2:] == ["juju status in /var/lib/tabletop-test", DESTROYED]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_command_and_all_is_removed(rig: Rig, number: signal.Signals):
    trap = f"trap 'echo ended by {number} >>$LOG; exit 0' {number.name.removeprefix('SIG')}"
    process = rig.start("sh", "-c", f"{trap}; echo running >>$LOG; while :; do sleep 0.05; done")
    rig.wait_for("running")
    process.send_signal(number)
    assert process.wait() == 128 + number
    assert rig.calls()[-2:] == [f"ended by {number}", DESTROYED]


def test_a_step_of_the_preparation_that_fails_is_named_and_all_is_removed(rig: Rig):
    rig.log.with_name("log.no-pack").touch()
    process = rig.start("true")
    assert process.wait() == 1
    assert re.search(r"pack .* ended with 1", rig.errors.read_text())
    assert rig.calls()[-1] == DESTROYED


def test_without_a_command_it_says_what_it_is(rig: Rig):
    process = rig.start()
    assert process.wait() == 2
    assert "with_tabletop.py pytest tests/model" in rig.errors.read_text()
    assert not rig.log.exists()
