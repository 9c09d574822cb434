"""All that reads what a node sends, against what is hostile: it says no, it doesn't break, stall or grow."""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cbor2
import orjson
from hostile import payloads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_gateway.desk import CommandRequest, NodeReport
from iot_gateway.desk.errors import CommandError
from iot_gateway.listeners.coap import wire as coap
from iot_gateway.listeners.lwm2m import values
from iot_gateway.listeners.lwm2m.registration import Offer
from iot_gateway.listeners.mqtt import wire as mqtt
from iot_telemetry import MalformedPayloadError, plain, senml, senml_cbor
from iot_telemetry.plain import PlainRule

NOW = 1_795_000_000.0
REFUSALS = (MalformedPayloadError, CommandError, mqtt.ProtocolError)
RULES = [PlainRule(topic="t", format=kind, sensor="s", units={}, time="t") for kind in ("number", "text", "json")]
PATHS = [(), (3303, 0), (3311, 0, 5851)]
DECODERS: dict[str, Callable[[bytes], object]] = {
    "SenML in JSON": lambda payload: senml.decode(payload, NOW),
    "SenML in CBOR": lambda payload: senml_cbor.decode(payload, NOW),
    **{
        f"plain, {rule.format}": lambda payload, rule=rule: plain.decode(rule, "node-1", "t", payload, NOW)
        for rule in RULES
    },
    **{
        f"LwM2M, {number} of {path}": lambda payload, number=number, path=path: values.decoder(
            "node-1", number, path, {}, known_only=bool(path)
        )(payload, NOW)
        for number in values.FORMATS
        for path in PATHS
    },
    "LwM2M's links": lambda payload: Offer.parse(payload.decode(errors="replace")),
    "CoAP": coap.read,
    "MQTT": lambda payload: mqtt.Framer(1 << 20).feed(payload),
    "a command": CommandRequest.from_json,
    "what a node says of a command": NodeReport.from_json,
}
LABELS = ["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "seq", "id", "state"]
SLOWEST = 2.0
"""Seconds that the relay may be kept from all others by one payload, on a machine that does other work."""


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


class Trial:
    """Gives payloads to every decoder, and counts."""

    def __init__(self) -> None:
        self.payloads = self.taken = 0
        self.slowest = (0.0, "")

    def give(self, payload: bytes) -> None:
        self.payloads += 1
        for name, decode in DECODERS.items():
            begin = time.monotonic()
            with contextlib.suppress(*REFUSALS):
                decode(payload)
                self.taken += 1
            self.slowest = max(self.slowest, (time.monotonic() - begin, f"{name}: {payload[:40]!r}"))

    def give_all(self, given: Iterable[bytes]) -> None:
        for payload in given:
            self.give(payload)

    def __str__(self) -> str:
        return (
            f"{self.payloads} payloads to {len(DECODERS)} decoders; {self.taken} times taken; "
            f"at most {self.slowest[0]:.3f} s ({self.slowest[1]}); {resident_mb():.0f} MB"
        )


def test_decoders_refuse_and_do_not_grow(part: int, thorough: bool):
    quarter = 15_625 if thorough else 500
    trial = Trial()
    trial.give_all(payloads(1000 + 4 * part, quarter))
    early = resident_mb()
    for number in range(1, 4):
        trial.give_all(payloads(1000 + 4 * part + number, quarter))
    print(f"part {part}: {trial}; {early:.0f} MB after a quarter")
    assert resident_mb() < early + 8
    assert trial.slowest[0] < SLOWEST, trial.slowest[1]


def json_documents() -> st.SearchStrategy[bytes]:
    scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
    records = st.dictionaries(st.sampled_from(LABELS) | st.text(max_size=4), scalars, max_size=6)
    shapes = st.lists(records, max_size=4) | records | st.recursive(scalars, st.lists, max_leaves=6)
    return shapes.map(lambda document: orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))


def cbor_documents() -> st.SearchStrategy[bytes]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
    tagged = st.builds(cbor2.CBORTag, st.integers(0, 300), scalars | st.lists(st.integers(), max_size=3))
    records = st.dictionaries(st.integers(-8, 9) | st.text(max_size=4), scalars | tagged, max_size=6)
    return (st.lists(records, max_size=4) | records | scalars | tagged).map(cbor2.dumps)


def test_documents_that_are_almost_right(part: int, thorough: bool):
    # What is cut and patched seldom gets past the parsers: these do.
    trial = Trial()
    early: list[float] = []
    count = 2_500 if thorough else 60

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=not thorough,
        suppress_health_check=list(HealthCheck),
    )
    @given(json_documents() | cbor_documents() | st.binary(max_size=80))
    def give(payload: bytes) -> None:
        trial.give(payload)
        if trial.payloads == count // 4:
            early.append(resident_mb())

    give()
    print(f"part {part}: documents, {trial}; {early[0]:.0f} MB after a quarter")
    assert trial.slowest[0] < SLOWEST, trial.slowest[1]
