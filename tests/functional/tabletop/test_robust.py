"""The command line on real machines when it is killed, given from several shells at once, or short of something."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_tabletop import PROGRAM

from tabletop.cgroups import Hierarchies
from tabletop.mounts import mounts_below
from tabletop.paths import Paths

ROOT = Path(__file__).resolve().parents[3]
CHARM = ROOT / "src/tabletop/tests/charms/web"
PATIENCE_S = 120.0

pytestmark = pytest.mark.timeout(600)


class Place:
    """A tabletop of a test's own, given by its command line; the images of the host's are shared."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root, Paths.from_environment().cache, Path(f"/run/{root.name}"))
        self.environment = {
            **os.environ,
            "TABLETOP_STATE": str(self.paths.state),
            "TABLETOP_RUN": str(self.paths.run),
            "JUJU_MODEL": "m",
        }

    def begin(self, *words: object, wrapper: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        argv = [*wrapper, str(PROGRAM), *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def give(self, *words: object, wrapper: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        process = self.begin(*words, wrapper=wrapper)
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def do(self, *words: object) -> str:
        done = self.give(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def daemon(self) -> int | None:
        done = self.give("daemon")
        return next((int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("pid:")), None)

    def units(self) -> dict[str, Any]:
        return json.loads(self.do("status", "--format", "json"))["applications"]["web"]["units"]

    def settle(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            units = self.units()
            if len(units) == count and all(unit["juju-status"]["current"] == "idle" for unit in units.values()):
                return
            time.sleep(0.3)
        raise AssertionError(self.do("status") + self.do("debug-log", "--replay", "--no-tail"))

    def managers(self) -> list[str]:
        """The container managers that run for this tabletop's machines."""
        lines = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
        return [line for line in lines if line.startswith("systemd-nspawn ") and f"{self.paths.state}/" in line]

    def traces(self) -> list[str]:
        """All that the host has of this tabletop."""
        found: list[str] = []
        for argv in (["ip", "link"], ["ip", "netns"], ["nft", "list", "tables"], ["ps", "-ewwo", "args"]):
            text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            found += [line for line in text.splitlines() if self.paths.tag in line or f"{self.paths.state}/" in line]
        found += [str(mount.point) for mount in mounts_below(self.paths.state)]
        found += [
            str(path) for root in Hierarchies.of_host().roots() for path in root.glob(f"tabletop/{self.paths.tag}-*")
        ]
        found += [
            str(path) for path in (self.paths.state, self.paths.run, self.paths.coming_and_going) if path.exists()
        ]
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place(Path(f"/var/tmp/tabletop-robust-{os.getpid()}"))
    yield made
    assert made.give("destroy", "--no-prompt").returncode == 0
    assert made.traces() == []


def is_a_sentence(text: str) -> bool:
    """Whether an error is said in a line of words, and not as a traceback."""
    lines = [line for line in text.splitlines() if line.startswith("ERROR ")]
    return len(lines) == 1 and text.strip().endswith(lines[0]) and "Traceback" not in text


def test_a_daemon_killed_again_and_again_while_machines_come_up(place: Place) -> None:
    place.do("bootstrap")
    place.do("add-model", "m")
    place.do("deploy", CHARM, "-n", "2")
    for pause in (0.0, 0.2, 0.5, 1.0, 1.5, 2.0):
        time.sleep(pause)
        pid = place.daemon()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        assert len(place.units()) == 2, "the next command starts another"
    place.settle(2)
    assert len(place.managers()) == 2, "no machine runs twice"
    log = place.do("debug-log", "--replay", "--no-tail")
    for unit in ("web/0", "web/1"):
        ran = [
            line for line in log.splitlines() if f"unit-{unit.replace('/', '-')}" in line and 'ran "start" hook' in line
        ]
        assert len(ran) == 1


def test_a_destroy_that_is_killed_is_ended_by_the_next(place: Place) -> None:
    place.do("bootstrap")
    place.do("add-model", "m")
    place.do("deploy", CHARM, "-n", "2")
    place.settle(2)
    for pause in (0.1, 0.3, 0.5, 0.8):
        process = place.begin("destroy", "--no-prompt")
        time.sleep(pause)
        process.kill()
        process.communicate()
    done = place.give("destroy", "--no-prompt")
    assert done.returncode == 0, done.stderr
    assert place.traces() == []
    # And all can be made again.
    place.do("bootstrap")


def test_a_bootstrap_that_is_killed_is_ended_by_the_next(place: Place) -> None:
    for pause in (0.1, 0.2, 0.4, 0.6):
        process = place.begin("bootstrap")
        time.sleep(pause)
        process.kill()
        process.communicate()
    place.do("bootstrap")
    assert place.daemon() is not None
    assert [path.name for path in place.paths.state.glob("probe-*")] == []


def test_two_shells_bootstrap_and_destroy(place: Place) -> None:
    both = [place.begin("bootstrap") for _ in range(3)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0], said
    assert sum("daemon started" in text for text in said) == 1
    both = [place.begin("destroy", "--no-prompt") for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("there was nothing to remove" in text for text in said) == 1
    assert place.traces() == []


def test_destroy_while_another_shell_deploys(place: Place) -> None:
    place.do("bootstrap")
    place.do("add-model", "m")
    place.do("deploy", CHARM, "first")
    for pause in (0.0, 0.3):
        deploying = place.begin("deploy", CHARM, "second", "-n", "3")
        time.sleep(pause)
        place.do("destroy", "--no-prompt")
        _, err = deploying.communicate()
        assert deploying.returncode == 0 or is_a_sentence(err), err
    # The other shell may have started a daemon again, of an empty tabletop.
    place.do("destroy", "--no-prompt")
    assert place.traces() == []


@pytest.mark.parametrize("words", [("bootstrap",), ("deploy", CHARM), ("status",), ("destroy", "--no-prompt")])
def test_a_container_that_may_not_mount(place: Place, words: tuple[object, ...]) -> None:
    done = place.give(*words, wrapper=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"))
    assert done.returncode == 1
    assert "root lacks CAP_SYS_ADMIN here, without which no machine can be made or mounted" in done.stderr
    assert is_a_sentence(done.stderr), done.stderr
    assert not place.paths.state.exists()


@pytest.mark.parametrize("words", [("bootstrap",), ("deploy", CHARM), ("status",), ("destroy", "--no-prompt")])
def test_another_user_than_root(place: Place, words: tuple[object, ...]) -> None:
    # Another user may not be let into the folder the program is in: only its identity is another's.
    done = place.give(*words, wrapper=("unshare", "--user"))
    assert done.returncode == 1
    assert is_a_sentence(done.stderr), done.stderr
    assert "root" in done.stderr


def test_a_disk_that_runs_full_and_is_freed(place: Place) -> None:
    place.paths.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m", "none", place.paths.state], check=True)
    ballast = place.paths.state / "ballast"
    try:
        place.do("bootstrap")
        place.do("add-model", "m")
        place.do("deploy", CHARM)
        place.settle(1)
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
        refused = place.give("deploy", CHARM, "second")
        assert refused.returncode == 1
        assert is_a_sentence(refused.stderr), refused.stderr
        assert "No space left on device" in refused.stderr or "is full: free some space" in refused.stderr
        assert list(place.units()) == ["web/0"]
        # A hook that runs now finds no room for what it writes; it runs again once there is some.
        place.give("config", "web", "ratio=0.25")
        time.sleep(3)
        ballast.unlink()
        place.do("config", "web", "ratio=0.75")
        place.settle(1)
        assert place.do("exec", "--unit", "web/0", "--", "config-get", "ratio").strip() == "0.75"
        place.do("deploy", CHARM, "second")
        assert place.give("destroy", "--no-prompt").returncode in (0, 1)
    finally:
        subprocess.run(["umount", "--lazy", place.paths.state], check=False)
        shutil.rmtree(place.paths.state, ignore_errors=True)


def test_a_damaged_model_and_its_removal(place: Place) -> None:
    place.do("bootstrap")
    place.do("add-model", "m")
    place.do("deploy", CHARM)
    place.settle(1)
    assert len(place.managers()) == 1
    place.do("daemon", "stop")
    (place.paths.state / "models/m/model.db").write_bytes(b"rubbish" * 1000)
    (place.paths.state / "models/m/model.db-wal").unlink(missing_ok=True)
    refused = place.give("status")
    assert refused.returncode == 1
    assert is_a_sentence(refused.stderr), refused.stderr
    assert "/models/m/model.db is damaged (file is not a database): put back a copy of it, or remove" in refused.stderr
    place.do("add-model", "other")
    assert place.give("destroy-model", "--no-prompt", "m").returncode == 0
    assert place.managers() == []


def test_a_spoilt_network_record(place: Place) -> None:
    place.do("bootstrap")
    place.do("add-model", "m")
    (place.paths.state / "network.json").write_text("{")
    place.do("deploy", CHARM)
    deadline = time.monotonic() + PATIENCE_S
    while "network.json" not in place.do("status") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "network.json is spoilt" in place.do("status")
    assert "Traceback" not in (place.paths.run / "daemon.log").read_text()
