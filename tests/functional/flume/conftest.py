"""RabbitMQ, HDFS and Flume agents as this machine's own processes.

Needs: Java 17, rabbitmq-server, build/resources/{flume,hadoop}.tar.gz (``resources/build.py flume hadoop``) and about
1.5 GB of memory. Agents are configured by the code that the charms use; systemd alone is replaced.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

# pytest's importlib mode puts no test folder on the path.
sys.path.insert(0, str(Path(__file__).parent))
from flume_chain import Broker, Hdfs, HdfsWriter, RabbitmqReader

from iot_charm.flume.rabbitmq import Target

REPOSITORY = Path(__file__).parents[3]


def _unpacked(name: str, directory: Path) -> Path:
    archive = REPOSITORY / "build" / "resources" / f"{name}.tar.gz"
    assert archive.exists(), f"{archive} is missing: resources/build.py {name}"
    directory.mkdir()
    subprocess.run(
        ["tar", "--extract", "--file", archive, "--directory", directory, "--strip-components=1"], check=True
    )
    return directory


@pytest.fixture(scope="session")
def flume_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpacked("flume", tmp_path_factory.mktemp("dist") / "flume")


@pytest.fixture(scope="session")
def hadoop_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _unpacked("hadoop", tmp_path_factory.mktemp("dist") / "hadoop")


@pytest.fixture(scope="session")
def ingestion() -> ModuleType:
    """The module of charm flume-hdfs that counts what is in HDFS."""
    path = REPOSITORY / "charms/flume-hdfs/src/ingestion.py"
    spec = importlib.util.spec_from_file_location("ingestion", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ingestion"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory: pytest.TempPathFactory, hadoop_home: Path) -> Iterator[Hdfs]:
    made = Hdfs(tmp_path_factory.mktemp("hdfs"), hadoop_home)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("rabbitmq"))
    made.start()
    yield made
    made.close()


@pytest.fixture
def queue(broker: Broker) -> str:
    """An empty quorum queue bound to the telemetry exchange."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.exchange_declare("iot.telemetry", "topic", durable=True)
        channel.queue_declare("iot.telemetry", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("iot.telemetry", "iot.telemetry", "#")
        channel.queue_purge("iot.telemetry")
    return "iot.telemetry"


@pytest.fixture
def make_writer(tmp_path: Path, flume_home: Path, hdfs: Hdfs) -> Iterator[Callable[..., HdfsWriter]]:
    made: list[HdfsWriter] = []

    def make(unit: str = "flume-hdfs-0", **changes: object) -> HdfsWriter:
        writer = HdfsWriter(tmp_path / unit, flume_home, hdfs, unit=unit, **changes)
        made.append(writer)
        writer.start()
        return writer

    yield make
    for writer in made:
        writer.stop(60)


@pytest.fixture
def make_reader(
    tmp_path: Path, flume_home: Path, broker: Broker, queue: str
) -> Iterator[Callable[..., RabbitmqReader]]:
    made: list[RabbitmqReader] = []

    def make(*writers: HdfsWriter, event_dir: str) -> RabbitmqReader:
        targets = [Target(writer.unit, "127.0.0.1", writer.port) for writer in writers]
        reader = RabbitmqReader(tmp_path / "flume-rabbitmq-0", flume_home, broker.access(queue), targets, event_dir)
        made.append(reader)
        reader.start()
        return reader

    yield make
    for reader in made:
        reader.stop(60)
