"""Nothing is lost, whatever is killed: every reading sent is counted in HDFS."""

import re
import time
from collections.abc import Callable
from types import ModuleType

import pytest
from daemons import wait_until
from flume_chain import Broker, Hdfs, HdfsWriter, RabbitmqReader, Sender

from iot_charm.flume import watchdog

pytestmark = pytest.mark.timeout(600)

MakeWriter = Callable[..., HdfsWriter]
MakeReader = Callable[..., RabbitmqReader]


def counted(ingestion: ModuleType, hdfs: Hdfs, sender: Sender, event_dir: str, timeout: float = 90):
    found = ingestion.Ingestion(hdfs.store, (event_dir,), sender.node)
    ingestion.wait_for(found, sender.sent, timeout_s=timeout, progress=print)
    print(f"{event_dir}: sent {sender.sent}, in HDFS {found.distinct}, duplicated {found.duplicated}")
    return found


def assert_only_finished_files(hdfs: Hdfs, event_dir: str) -> None:
    """Every file has its final name and is one that Hadoop's own client reads to the end."""
    names = [entry.name for entry in hdfs.store.walk(f"/user/flume/{event_dir}") if not entry.is_directory]
    assert names
    assert [name for name in names if not re.fullmatch(r"FlumeData\.\d+\.gz", name)] == []


def test_both_agents_killed(
    ingestion: ModuleType, hdfs: Hdfs, broker: Broker, make_writer: MakeWriter, make_reader: MakeReader
):
    writer = make_writer(roll_interval=60)
    reader = make_reader(writer, event_dir="agents")
    sender = Sender(broker, node="agents").start()
    for _ in range(2):
        wait_until(lambda: writer.has_written("agents"), 60, "data in HDFS")
        sender.wait_for(20)
        reader.kill()
        reader.start()
        sender.wait_for(20)
        writer.kill()
        writer.start()
    sender.wait_for(20)
    sender.stop()
    seconds, published, cut = writer.recover()
    print(f"recovery: {seconds:.1f} s, {published} orphans published, {cut} torn files cut")
    assert published == 2, "each kill left the file that was open"
    found = counted(ingestion, hdfs, sender, "agents")
    assert (found.distinct, found.malformed) == (sender.sent, 0)
    wait_until(lambda: _no_open_file(hdfs, "agents"), 60, "the last file to be finished")
    assert_only_finished_files(hdfs, "agents")
    lines = hdfs.shell("-text", "/user/flume/agents/*/*").splitlines()
    assert len(lines) == found.distinct + found.duplicated


def test_broker_killed(
    ingestion: ModuleType, hdfs: Hdfs, broker: Broker, make_writer: MakeWriter, make_reader: MakeReader
):
    writer = make_writer()
    reader = make_reader(writer, event_dir="broker")
    assert reader.process
    pid, address = reader.process.pid, [("127.0.0.1", broker.port)]
    sender = Sender(broker, node="broker").start()
    for _ in range(2):
        sender.wait_for(40)
        broker.kill()
        broker.start()
        started = time.monotonic()
        wait_until(lambda: watchdog.connections(pid, address) == reader.SOURCES, 30, "the sources' connections")
        print(f"reconnected {time.monotonic() - started:.1f} s after the broker was up")
    sender.wait_for(40)
    sender.stop()
    found = counted(ingestion, hdfs, sender, "broker")
    assert (found.distinct, found.malformed) == (sender.sent, 0)
    assert reader.process.pid == pid, "the sources reconnected by themselves"


def test_broker_away_when_the_agent_starts(
    ingestion: ModuleType, hdfs: Hdfs, broker: Broker, make_writer: MakeWriter, make_reader: MakeReader
):
    writer = make_writer()
    reader = make_reader(writer, event_dir="late")
    reader.stop()
    sender = Sender(broker, node="late").start()
    sender.wait_for(20)
    sender.stop()
    broker.kill()
    reader.log.unlink()
    # It never gets as far as its sources.
    reader.ready = lambda: "Unexpected error performing start" in reader.log.read_text()
    reader.start()
    broker.start()
    address = [("127.0.0.1", broker.port)]
    assert reader.process
    patience = watchdog.Patience(reader.SOURCES, grace_s=10)
    now = 0.0

    def is_over() -> bool:
        nonlocal now
        now += 1
        assert reader.process
        found = watchdog.connections(reader.process.pid, address)
        return patience.is_over(found, running=True, accepting=watchdog.is_accepting(address), now=now)

    wait_until(is_over, 30, "the watchdog's end of patience")
    reader.stop()
    reader.log.unlink()
    del reader.ready
    reader.start()
    found = counted(ingestion, hdfs, sender, "late")
    assert found.distinct == sender.sent


def test_hdfs_killed(
    ingestion: ModuleType, hdfs: Hdfs, broker: Broker, make_writer: MakeWriter, make_reader: MakeReader
):
    writer = make_writer()
    make_reader(writer, event_dir="hdfs")
    sender = Sender(broker, node="hdfs").start()
    wait_until(lambda: writer.has_written("hdfs"), 60, "data in HDFS")
    hdfs.datanode.kill()
    sender.wait_for(100)
    hdfs.datanode.start(60)
    sender.wait_for(100)
    hdfs.namenode.kill()
    sender.wait_for(50)
    hdfs.namenode.start(60)
    sender.wait_for(50)
    sender.stop()
    wait_until(lambda: hdfs.live_datanodes() == 1, 90, "the DataNode to report again")
    seconds, published, cut = writer.recover(240)
    print(f"recovery: {seconds:.1f} s, {published} orphans published, {cut} torn files cut")
    found = counted(ingestion, hdfs, sender, "hdfs")
    writer.recover()
    assert (found.distinct, found.malformed) == (sender.sent, 0)
    wait_until(lambda: _no_open_file(hdfs, "hdfs"), 60, "the last file to be finished")
    assert_only_finished_files(hdfs, "hdfs")
    lines = hdfs.shell("-text", "/user/flume/hdfs/*/*").splitlines()
    assert len(lines) == found.distinct + found.duplicated


def test_one_of_two_writers_killed_for_good(
    ingestion: ModuleType, hdfs: Hdfs, broker: Broker, make_writer: MakeWriter, make_reader: MakeReader
):
    writers = make_writer("flume-hdfs-0", roll_interval=20), make_writer("flume-hdfs-1", roll_interval=60)
    make_reader(*writers, event_dir="writers")
    sender = Sender(broker, node="writers").start()
    wait_until(lambda: all(writer.has_written("writers") for writer in writers), 60, "data of both in HDFS")
    writers[1].kill()
    sender.wait_for(100)
    sender.stop()
    # What was in its channel comes once it runs again; the rest went to the other.
    seconds, published, _ = writers[1].recover()
    print(f"recovery: {seconds:.1f} s")
    assert published == 1
    writers[1].start()
    found = counted(ingestion, hdfs, sender, "writers")
    assert (found.distinct, found.malformed) == (sender.sent, 0)


def _no_open_file(hdfs: Hdfs, event_dir: str) -> bool:
    return not any(entry.name.startswith("_") for entry in hdfs.store.walk(f"/user/flume/{event_dir}"))
