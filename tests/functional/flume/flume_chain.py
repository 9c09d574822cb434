"""The parts of the chain, configured as the charms configure them."""

import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pika
import requests
from daemons import BROKEN, Daemon, RabbitMq, answers, free_port, wait_until

from iot_charm.flume import rabbitmq
from iot_charm.flume.agent import NAME, USER
from iot_charm.flume.hdfs import HdfsAgent, properties
from iot_charm.flume.recovery import Recovery
from iot_charm.flume.store import Store
from iot_charm.hadoop import hdfs_client_properties, site_xml
from iot_charm.java import ensure_truststore
from iot_telemetry import batch
from iot_telemetry.reading import Reading

HEAP = "-Xmx256m -XX:+UseSerialGC"
VHOST = RabbitMq.VHOST


class Broker(RabbitMq):
    """RabbitMQ."""

    def access(self, queue: str) -> rabbitmq.Broker:
        """Return what the charm is told of it."""
        return rabbitmq.Broker((("127.0.0.1", self.port),), VHOST, RabbitMq.USER, RabbitMq.PASSWORD, queue)


class Hdfs:
    """A NameNode and a DataNode."""

    def __init__(self, directory: Path, home: Path):
        self.directory, self.home = directory, home
        self.port, self.web_port = free_port(), free_port()
        self.conf = directory / "conf"
        self.conf.mkdir()
        address = "127.0.0.1"
        core = {"fs.defaultFS": f"hdfs://{address}:{self.port}"}
        site = {
            "dfs.namenode.name.dir": str(directory / "name"),
            "dfs.datanode.data.dir": str(directory / "data"),
            "dfs.namenode.http-address": f"{address}:{self.web_port}",
            **{f"dfs.datanode{name}.address": f"{address}:{free_port()}" for name in ("", ".http", ".ipc")},
            "dfs.datanode.hostname": address,
            "dfs.replication": 1,
        }
        (self.conf / "core-site.xml").write_text(site_xml(core))
        (self.conf / "hdfs-site.xml").write_text(site_xml(site))
        self.namenode = self._daemon("namenode", "org.apache.hadoop.hdfs.server.namenode.NameNode")
        self.datanode = self._daemon("datanode", "org.apache.hadoop.hdfs.server.datanode.DataNode")
        self.namenode.ready = lambda: answers(self.web_port) and self.live_datanodes() is not None
        self.datanode.ready = lambda: self.live_datanodes() == 1

    def _daemon(self, name: str, main: str) -> Daemon:
        return Daemon(self.directory / name, self._java(main))

    def _java(self, main: str, *arguments: str) -> list[str]:
        class_path = f"{self.conf}:{self.home}/etc:{self.home}/lib/*"
        return ["java", *HEAP.split(), "-cp", class_path, main, *arguments]

    @property
    def uri(self) -> str:
        return f"hdfs://127.0.0.1:{self.port}"

    @property
    def store(self) -> Store:
        return Store(f"http://127.0.0.1:{self.web_port}", ("127.0.0.1", self.port), user=USER)

    def live_datanodes(self) -> int | None:
        url = f"http://127.0.0.1:{self.web_port}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        try:
            (bean,) = requests.get(url, timeout=5).json()["beans"]
        except (requests.RequestException, ValueError):
            return None
        return int(bean["NumLiveDataNodes"])

    def start(self) -> None:
        command = self._java("org.apache.hadoop.hdfs.server.namenode.NameNode", "-format", "-nonInteractive")
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self.namenode.start(60)
        self.datanode.start(60)
        self.shell("-mkdir", "-p", f"/user/{USER}")
        self.shell("-chown", f"{USER}:supergroup", f"/user/{USER}")

    def close(self) -> None:
        self.datanode.stop()
        self.namenode.stop()

    def shell(self, *arguments: str) -> str:
        """Run ``hadoop fs``."""
        command = self._java("org.apache.hadoop.fs.FsShell", *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


class Agent(Daemon):
    """A Flume agent; as under systemd, every run has an invocation of its own."""

    def __init__(self, directory: Path, home: Path, environment: dict[str, str]):
        self.properties_file = directory / "flume.properties"
        command = [str(home / "bin/flume-ng"), "agent", "--name", NAME]
        command += ["--conf-file", str(self.properties_file), "--no-reload-conf"]
        super().__init__(directory, command, {"FLUME_JAVA_OPTS": HEAP, "HADOOP_USER_NAME": USER, **environment})
        self.invocation = ""

    def start(self, timeout: float = 60) -> None:
        self.invocation = self._environment["INVOCATION_ID"] = uuid.uuid4().hex
        if self.log.exists():
            self.log.rename(self.directory / f"log-before-{self.invocation}")
        super().start(timeout)

    @property
    def live(self) -> str:
        return self.invocation if self.process and self.process.poll() is None else ""


class HdfsWriter(Agent):
    """An agent as charm flume-hdfs configures it."""

    def __init__(self, directory: Path, home: Path, hdfs: Hdfs, *, unit: str, **changes: object):
        self.hdfs, self.unit, self.port = hdfs, unit, free_port()
        conf = directory / "hadoop"
        conf.mkdir(parents=True)
        (conf / "core-site.xml").write_text(site_xml({"fs.defaultFS": hdfs.uri}))
        (conf / "hdfs-site.xml").write_text(site_xml(hdfs_client_properties(1, 128 << 20)))
        wanted = HdfsAgent(
            unit=unit,
            hdfs_uri=hdfs.uri,
            source_port=self.port,
            batch_encoding="gzip",
            roll_interval=5,
            roll_count=0,
            roll_size=10_000_000,
            sink_serializer="text",
            sink_compression="",
            channel_capacity=10_000,
            channel_transaction_capacity=1000,
        )
        super().__init__(directory, home, {"HADOOP_CONF_DIR": str(conf)})
        self.properties_file.write_text(properties(replace(wanted, **changes), data=directory))

    def ready(self) -> bool:
        return answers(self.port)

    def has_written(self, event_dir: str) -> bool:
        """Tell whether HDFS has data in a file that this run of the agent has open."""
        store = self.hdfs.store
        mine = [
            entry
            for entry in store.walk(f"/user/{USER}/{event_dir}")
            if self.invocation and self.invocation in entry.name
        ]
        return any(store.read(entry.path, 0, 1) for entry in mine)

    def recover(self, timeout: float = 120) -> tuple[float, int, int]:
        """Look until nothing is left to do; returns seconds, published orphans and cut files."""
        recovery = Recovery(
            self.hdfs.store, root=f"/user/{USER}", unit=self.unit, live=lambda: self.live, open_for_s=3600
        )
        started, published, cut = time.monotonic(), 0, 0
        while True:
            done = recovery.run(0)
            published, cut = published + done.published, cut + done.cut
            if not done.pending:
                return time.monotonic() - started, published, cut
            assert time.monotonic() - started < timeout, f"still pending: {done.pending}"
            time.sleep(1)


class RabbitmqReader(Agent):
    """An agent as charm flume-rabbitmq configures it."""

    SOURCES = 2

    def __init__(
        self, directory: Path, home: Path, access: rabbitmq.Broker, targets: Sequence[rabbitmq.Target], event_dir: str
    ):
        directory.mkdir(parents=True)
        beans, truststore = directory / "jndi.xml", directory / "truststore.p12"
        beans.write_text(rabbitmq.beans(access))
        if access.ca:
            ensure_truststore(truststore, access.ca)
        wanted = rabbitmq.RabbitmqAgent(
            sources=self.SOURCES,
            batch_size=20,
            event_dir=event_dir,
            channel_capacity=10_000,
            channel_transaction_capacity=1000,
            targets=tuple(targets),
        )
        java = rabbitmq.trust_options(truststore) if access.ca else []
        super().__init__(directory, home, {"FLUME_JAVA_OPTS": " ".join([HEAP, *java])})
        self.properties_file.write_text(rabbitmq.properties(wanted, beans_file=beans, data=directory))

    def ready(self) -> bool:
        return "Component type: SOURCE, name: rabbitmq0 started" in self.log.read_text()


class Sender:
    """Publishes batches with confirms, in a thread, through the broker's death as well, until it is told to stop.

    A batch that was not confirmed is published again, as a gateway does.
    """

    def __init__(self, broker: Broker, *, node: str, readings: int = 100, rate: float = 20):
        self.node, self.readings, self.rate = node, readings, rate
        self.batches = 0
        self._broker = broker
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def sent(self) -> int:
        return self.batches * self.readings

    def start(self) -> "Sender":
        self._thread.start()
        return self

    def wait_for(self, more: int) -> None:
        """Wait until as many more batches are published."""
        wanted = self.batches + more
        wait_until(lambda: self.batches >= wanted, 120, f"{more} more batches to be published")

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._broker.connect() as connection:
                    channel = connection.channel()
                    channel.confirm_delivery()
                    while not self._stopping.is_set():
                        self._publish(channel)
                        self.batches += 1
                        time.sleep(1 / self.rate)
            except BROKEN:
                time.sleep(0.2)

    def _publish(self, channel: "pika.adapters.blocking_connection.BlockingChannel") -> None:
        first = self.batches * self.readings
        lines = (
            Reading(seq / 10, "site", "gateway", self.node, "t", "Cel", seq % 40, None, None, seq, seq / 10).to_line()
            for seq in range(first, first + self.readings)
        )
        headers = {"readings": self.readings, "site": "site", "gateway": "gateway"}
        message = pika.BasicProperties(
            delivery_mode=2, content_type="application/x-ndjson", content_encoding="gzip", headers=headers
        )
        channel.basic_publish("iot.telemetry", "site.gateway", batch.encode(lines, "gzip"), message)
