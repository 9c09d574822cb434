"""Commands that run side by side: what they say, how they end, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import run_tests
from side_by_side import Job, SideBySide

TOOLS = Path(run_tests.__file__).parent


def job(name: str, script: str, folder: Path, good: frozenset[int] = frozenset({0})) -> Job:
    return Job(name, ("sh", "-c", script), folder, {"WHO": name}, good)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_line_has_the_name_of_its_job_and_failures_are_returned(tmp_path: Path) -> None:
    said: list[str] = []
    jobs = [
        job("one", "echo $WHO here; echo more >&2", tmp_path),
        job("two", "printf half; exit 3", tmp_path),
        job("three", "exit 5", tmp_path, frozenset({0, 5})),
    ]
    assert SideBySide(2, said.append).run(jobs) == ["two"]
    assert [line for line in said if line.startswith("one")] == ["one | one here", "one | more", "one | passed in 0 s"]
    assert [line for line in said if line.startswith("two")] == ["two | half", "two | failed with 3 in 0 s"]
    assert "three | passed in 0 s" in said


def test_so_many_run_at_once_and_the_next_begins_when_one_has_ended(tmp_path: Path) -> None:
    meet = "touch $WHO; until [ -e one ] && [ -e two ]; do sleep 0.02; done; ls"
    said: list[str] = []
    jobs = [job("one", meet, tmp_path), job("two", meet, tmp_path), job("three", "touch three", tmp_path)]
    assert SideBySide(2, said.append).run(jobs) == []
    assert (tmp_path / "three").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whoever_ends_it_ends_what_runs(tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "program.py"
    child = (
        "import pathlib, signal, sys, time\n"
        "def end(number, _): pathlib.Path('ended').write_text(signal.Signals(number).name); sys.exit(1)\n"
        "for one in (signal.SIGTERM, signal.SIGINT): signal.signal(one, end)\n"
        "pathlib.Path('running').touch()\n"
        "while True: time.sleep(0.05)\n"
    )
    program.write_text(
        f"import sys; sys.path.insert(0, {str(TOOLS)!r})\n"
        "from pathlib import Path; from side_by_side import Job, SideBySide\n"
        f"here = Path({str(tmp_path)!r})\n"
        f"jobs = [Job('first', (sys.executable, '-c', {child!r}), here), Job('second', ('touch', 'begun'), here)]\n"
        "print(SideBySide(1).run(jobs))\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        until((tmp_path / "running").exists)
        os.kill(process.pid, number)
        until((tmp_path / "ended").exists)
        assert process.stdout is not None
        said = process.stdout.read()
    assert not (tmp_path / "begun").exists()
    wanted = "SIGTERM" if number == signal.SIGKILL else number.name
    until(lambda: (tmp_path / "ended").read_text() == wanted)
    if number != signal.SIGKILL:
        assert said.endswith("first | failed with 1 in 0 s\n['first', 'second']\n")


def test_every_folder_of_tests_is_run_the_slowest_first(tmp_path: Path) -> None:
    names = [one.name for one in run_tests.chosen(list(run_tests.unit(tmp_path)), ())]
    assert names[0] == "src/tabletop"
    assert {"src/iot-lake", "charms/spark", "resources/tests", "tools/tests"} <= set(names)
    names = [one.name for one in run_tests.chosen(list(run_tests.functional(tmp_path)), ())]
    assert names[:3] == ["tests/functional/tabletop", "tests/functional/flume", "tests/functional/gateway"]
    tests = set(run_tests.ROOT.glob("tests/functional/**/test_*.py"))
    assert {path for name in names for path in (run_tests.ROOT / name).rglob("test_*.py")} == tests


def test_folders_and_options_choose(tmp_path: Path) -> None:
    jobs = list(run_tests.unit(tmp_path))
    (only,) = run_tests.chosen(jobs, ("src/iot-lake/", "-k", "batch"))
    assert only.command[-2:] == ("-k", "batch")
    assert run_tests.NO_TESTS in only.good
    assert run_tests.NO_TESTS not in run_tests.chosen(jobs, ("src/iot-lake",))[0].good
    assert run_tests.main(["nothing"]) == 2
