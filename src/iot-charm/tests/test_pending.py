import os
from pathlib import Path

from iot_charm.pending import is_pending, settle


def test_what_was_written_after_the_stamp_is_pending(tmp_path: Path):
    file, stamp = tmp_path / "file", tmp_path / "stamp"
    assert is_pending(stamp, file)
    file.write_text("a")
    settle(stamp)
    assert not is_pending(stamp, file, tmp_path / "none")
    later = stamp.stat().st_mtime_ns + 1
    os.utime(file, ns=(later, later))
    assert is_pending(stamp, tmp_path / "none", file)
    settle(stamp)
    assert not is_pending(stamp, file)
