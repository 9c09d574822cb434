"""A mosquitto as a gateway's, a node's configuration, and a watcher that keeps what arrives."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Mosquitto
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from iot_node.config import Config, Credentials, Gateway
from iot_telemetry import senml

NODE = "node-1"
ACL = f"user {NODE}\ntopic write telemetry/{NODE}\ntopic write telemetry/{NODE}/#\nuser watcher\ntopic read #\n"


class Watcher:
    """Subscribes to everything and keeps it, over every break of the connection."""

    def __init__(self, port: int):
        self._lock = threading.Lock()
        self._packs: list[tuple[str, list[senml.SenmlRecord]]] = []
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="watcher", clean_session=False)
        self._client.username_pw_set("watcher", "w")
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._keep
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def _keep(self, _: object, __: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self._packs.append((message.topic, senml.decode(message.payload, time.time())))

    def packs(self) -> list[tuple[str, list[senml.SenmlRecord]]]:
        with self._lock:
            return list(self._packs)

    def records(self) -> list[senml.SenmlRecord]:
        return [record for _, records in self.packs() for record in records]

    def wait(self, condition: Callable[[list[senml.SenmlRecord]], bool], timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition(self.records()):
            assert time.monotonic() < deadline, f"not within {timeout} s; {len(self.records())} records"
            time.sleep(0.05)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    # Not "max_queued_messages 0": mosquitto 2.0.11 then closes the connection of a node that it refuses a publication.
    extra = "max_queued_messages 1000000\n"
    daemon = Mosquitto(tmp_path / "mosquitto", {NODE: "secret", "watcher": "w"}, ACL, extra=extra)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def watcher(broker: Mosquitto) -> Iterator[Watcher]:
    found = Watcher(broker.port)
    yield found
    found.close()


@pytest.fixture
def config_file(tmp_path: Path, broker: Mosquitto) -> Path:
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"username": NODE, "password": "secret"}))
    credentials.chmod(0o600)
    (tmp_path / "state").mkdir()
    path = tmp_path / "config.toml"
    path.write_text(
        f"""node = "{NODE}"
interval = 0.1
state_directory = "{tmp_path}/state"

[gateway]
host = "127.0.0.1"
port = {broker.port}
credentials_file = "{credentials}"
"""
    )
    return path


@pytest.fixture
def config(config_file: Path) -> Config:
    return Config.read(config_file)


@pytest.fixture
def gateway(config: Config) -> Gateway:
    return config.gateway


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(NODE, "secret")
