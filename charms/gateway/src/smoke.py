"""The smoke test: a probe that goes the whole way of a node's payload, followed until RabbitMQ has confirmed it."""

import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

import mosquitto
import relay_settings
from iot_charm.errors import IotCharmError
from iot_gateway.errors import NotRunningError
from iot_telemetry import senml


class SmokeTestError(IotCharmError):
    """The probe did not arrive; the text says how far it came."""


@dataclass(frozen=True)
class Result:
    """A probe that arrived."""

    node: str
    seconds: float


def run(
    listener: relay_settings.Listener, password: str, relay_status: Callable[[], dict[str, Any]], timeout_s: float
) -> Result:
    """Send a probe to the listener that nodes use, and wait until the relay reports it confirmed.

    Raises:
        SmokeTestError: it was refused, or did not arrive in time.
    """
    node = f"{mosquitto.PROBE_USER}:{secrets.token_hex(4)}"
    begin = time.monotonic()
    deadline = begin + timeout_s
    _publish(listener, password, node, deadline)
    while True:
        state = _state(relay_status, node)
        if state == "confirmed":
            return Result(node, time.monotonic() - begin)
        if time.monotonic() > deadline:
            raise SmokeTestError(
                f"the probe is {state}, not confirmed, after {timeout_s:.0f} s: {_faults(relay_status)}"
            )
        time.sleep(0.1)


def _state(relay_status: Callable[[], dict[str, Any]], node: str) -> str:
    try:
        probes = relay_status()["probes"]
    except NotRunningError as error:
        raise SmokeTestError(str(error)) from error
    if probes.get(mosquitto.PROBE_USER) == "dead letter":
        raise SmokeTestError("the relay took the probe for a bad payload")
    return probes.get(node, "on its way")


def _faults(relay_status: Callable[[], dict[str, Any]]) -> str:
    seen = relay_status()
    faults = [
        *(listener["error"] for listener in seen["listeners"].values()),
        seen["refusal"],
        seen["uplink"]["error"],
        seen["forwarders"]["telemetry"]["error"],
    ]
    return "; ".join(fault for fault in faults if fault) or "no fault is known"


def _publish(listener: relay_settings.Listener, password: str, node: str, deadline: float) -> None:
    now = time.time()
    payload = senml.encode(
        [senml.SenmlRecord(f"{node}/probe", now, flag=True, seq=0)], base_name=f"{node}/", base_time=now
    )
    acknowledged = threading.Event()
    answers: list[ReasonCode] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=node.replace(":", "-"))
    client.username_pw_set(mosquitto.PROBE_USER, password)

    def on_connect(_client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        answers.append(reason)
        # The relay may not have read the new identity yet: paho then connects again by itself.
        if not reason.is_failure:
            client.publish(f"{listener.topic_prefix}/{mosquitto.PROBE_USER}", payload, qos=1)

    def on_publish(*_: Any) -> None:
        acknowledged.set()

    port = listener.port
    if not port:
        port = listener.tls_port
        client.tls_set_context(ssl.create_default_context(cadata=listener.ca))  # pyright: ignore[reportUnknownMemberType]
    client.on_connect = on_connect
    client.on_publish = on_publish
    client.reconnect_delay_set(1, 1)
    try:
        client.connect(listener.address, port)
    except OSError as error:
        raise SmokeTestError(f"no MQTT listener at {listener.address}:{port}: {error}") from error
    client.loop_start()
    try:
        if not acknowledged.wait(max(0.0, deadline - time.monotonic())):
            raise SmokeTestError(f"the listener did not take the probe: {answers[-1] if answers else 'no answer'}")
    finally:
        client.disconnect()
        client.loop_stop()
