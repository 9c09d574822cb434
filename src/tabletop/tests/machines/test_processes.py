import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabletop.processes import ProcessIdentity, boot_id, innermost_pid, namespace_pids, parse_stat, read_stat


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def identity_of(process: "subprocess.Popen[bytes]") -> ProcessIdentity:
    stat = read_stat(process.pid)
    assert stat is not None
    return ProcessIdentity(stat.pid, stat.started, boot_id())


def test_a_name_with_spaces_and_parentheses() -> None:
    stat = parse_stat("7 (a) b (c)) S 1 " + " ".join(["0"] * 17) + " 4321 0 0")
    assert (stat.pid, stat.state, stat.parent, stat.started) == (7, "S", 1, 4321)
    with pytest.raises(ValueError, match="not a stat line"):
        parse_stat("7 (sh) S 1")


def test_there_is_no_such_process() -> None:
    assert read_stat(2**22 + 1) is None
    assert namespace_pids(2**22 + 1) == []
    assert innermost_pid(os.getpid()) is None


def test_the_record_of_a_process(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    record = tmp_path / "process"
    assert ProcessIdentity.load(record) is None
    record.write_text("")
    assert ProcessIdentity.load(record) is None
    stat = Path(f"/proc/{sleeper.pid}/stat").read_text().strip()
    record.write_text(f"{stat}\n")
    assert ProcessIdentity.load(record) is None, "the writer was killed before its second line"
    record.write_text(f"{stat}\n{boot_id()}\n")
    assert ProcessIdentity.load(record) == identity_of(sleeper)


def test_end_is_noticed_at_once(sleeper: "subprocess.Popen[bytes]") -> None:
    identity = identity_of(sleeper)
    assert identity.is_alive()
    assert not identity.wait(0.05)
    identity.kill()
    began = time.monotonic()
    assert identity.wait(10)
    assert time.monotonic() - began < 5
    # Not waited for by us, its parent: a zombie still has its id and start, and yet is no more.
    assert not identity.is_alive()
    sleeper.wait()
    assert not identity.is_alive()
    assert identity.wait(0)
    identity.kill()


def test_a_recycled_id_is_another_process(sleeper: "subprocess.Popen[bytes]") -> None:
    mine = identity_of(sleeper)
    for other in (
        ProcessIdentity(mine.pid, mine.started - 1, mine.boot),
        ProcessIdentity(mine.pid, mine.started, "00000000-0000-0000-0000-000000000000"),
    ):
        assert not other.is_alive()
        assert other.wait(0)
        other.signal(signal.SIGKILL)
        assert other.leader() is None
    assert mine.is_alive()
    assert mine.leader() is None, "it is no container's manager"
