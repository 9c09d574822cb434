"""What files look like in HDFS, and how torn ones of each format are mended."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from daemons import wait_until
from flume_chain import Hdfs, HdfsWriter

pytestmark = pytest.mark.timeout(400)

MakeWriter = Callable[..., HdfsWriter]
LINES = [f'{{"seq":{number},"text":"{number * 7919}"}}' for number in range(400)]


def send(flume_home: Path, directory: Path, writer: HdfsWriter, event_dir: str, lines: Sequence[str] = LINES) -> None:
    """Send each line as an event, with Flume's own client."""
    (directory / "body").write_text("\n".join(lines) + "\n")
    (directory / "headers").write_text(f"event_dir={event_dir}\n")
    command: list[str | Path] = [flume_home / "bin/flume-ng", "avro-client", "--host", "127.0.0.1"]
    command += ["--port", str(writer.port), "--filename", directory / "body", "--headerFile", directory / "headers"]
    subprocess.run(command, check=True, capture_output=True, timeout=90)


@pytest.mark.parametrize(
    ("name", "changes", "suffix"),
    [
        ("sink-gzip", {"sink_compression": "gzip"}, ".gz"),
        ("sink-snappy", {"sink_compression": "snappy"}, ".snappy"),
        ("avro", {"sink_serializer": "avro_event"}, ".avro"),
    ],
)
def test_a_killed_writers_file_reads_to_its_end(
    flume_home: Path,
    hdfs: Hdfs,
    make_writer: MakeWriter,
    tmp_path: Path,
    name: str,
    changes: dict[str, Any],
    suffix: str,
):
    writer = make_writer(batch_encoding="identity", roll_interval=300, **changes)
    send(flume_home, tmp_path, writer, name)
    wait_until(lambda: writer.has_written(name), 60, "data in HDFS")
    time.sleep(5)  # all events are in the file, by any measure
    writer.kill()
    seconds, published, _ = writer.recover()
    print(f"{name}: recovered in {seconds:.1f} s")
    assert published == 1
    (file,) = [entry for entry in hdfs.store.walk(f"/user/flume/{name}") if not entry.is_directory]
    assert file.name.endswith(suffix)
    text = hdfs.shell("-text", file.path)
    for line in LINES:
        assert (line if suffix != ".avro" else line.replace('"', '\\"')) in text


def test_a_torn_file_is_cut_for_every_reader(hdfs: Hdfs, make_writer: MakeWriter, flume_home: Path, tmp_path: Path):
    """Plain text: half a line behind the last whole one goes, nothing else does."""
    writer = make_writer(batch_encoding="identity", roll_interval=300)
    whole, torn = "one line\nanother\n", "half a li"
    path = f"/user/flume/torn/2026-11-24/_{writer.unit}.before.FlumeData.5.tmp"
    (tmp_path / "torn").write_text(whole + torn)
    hdfs.shell("-mkdir", "-p", path.rpartition("/")[0])
    hdfs.shell("-put", str(tmp_path / "torn"), path)
    hdfs.shell("-chown", "-R", "flume", "/user/flume/torn")
    seconds, published, cut = writer.recover()
    print(f"cut in {seconds:.1f} s")
    assert (published, cut) == (1, 1)
    assert hdfs.shell("-cat", "/user/flume/torn/2026-11-24/FlumeData.5") == whole


def test_the_listing_is_hadoops(hdfs: Hdfs, ingestion: ModuleType, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"x" * 12345)
    hdfs.shell("-mkdir", "-p", "/user/flume/listed/2026-11-24", "/user/flume/listed/2026-11-25")
    for day, name in (("2026-11-24", "FlumeData.1.gz"), ("2026-11-24", "FlumeData.2.gz"), ("2026-11-25", "a")):
        hdfs.shell("-put", str(tmp_path / "f"), f"/user/flume/listed/{day}/{name}")
    hdfs.shell("-chown", "flume", "/user/flume/listed/2026-11-24/FlumeData.2.gz")
    hdfs.shell("-chmod", "1750", "/user/flume/listed/2026-11-24")
    wanted = hdfs.shell("-ls", "-R", "/user/flume/listed").splitlines()
    as_superuser = type(hdfs.store)(f"http://127.0.0.1:{hdfs.web_port}", ("127.0.0.1", hdfs.port), user="root")
    assert list(ingestion.listing(as_superuser, "/user/flume/listed")) == wanted


def test_a_smoke_test_event_shows_at_once(hdfs: Hdfs, make_writer: MakeWriter, flume_home: Path, tmp_path: Path):
    """One event, as the action sends it: its channel makes a file of each and is not for load."""
    writer = make_writer(roll_interval=300)
    send(flume_home, tmp_path, writer, "smoke-test", ["a token"])
    store, directory = hdfs.store, f"/user/flume/smoke-test/{writer.unit}"

    def finished() -> list[bytes]:
        files = [entry for entry in store.walk(directory) if entry.name.startswith("FlumeData.")]
        return [store.read(entry.path, 0, entry.length) for entry in files]

    wait_until(lambda: finished() == [b"a token\n"], 60, "a finished file with the event")
