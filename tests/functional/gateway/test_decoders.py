"""The decoders of payloads against what is hostile: they say no, they don't break, and they don't grow."""

import time
from pathlib import Path

from hostile import payloads

from iot_telemetry import MalformedPayloadError, plain, senml, senml_cbor
from iot_telemetry.plain import PlainRule

RULES = [PlainRule(topic="t", format=kind, sensor="s", units={}, time="t") for kind in ("number", "text", "json")]


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def decode_all(payload: bytes, now: float) -> int:
    """Give a payload to every decoder; return how many took it."""
    taken = 0
    for decode in (
        lambda: senml.decode(payload, now),
        lambda: senml_cbor.decode(payload, now),
        *(lambda rule=rule: plain.decode(rule, "node-1", "t", payload, now) for rule in RULES),
    ):
        try:
            decode()
            taken += 1
        except MalformedPayloadError:
            continue
    return taken


def test_decoders_refuse_and_do_not_grow(thorough: bool):
    count = 1_000_000 if thorough else 20_000
    now = time.time()
    taken = 0
    early = 0.0
    begin = time.monotonic()
    for number, payload in enumerate(payloads(99, count)):
        taken += decode_all(payload, now)
        if number == count // 4:
            early = resident_mb()
    seconds = time.monotonic() - begin
    late = resident_mb()
    print(
        f"{count} payloads to {2 + len(RULES)} decoders in {seconds:.0f} s; {taken} times taken; "
        f"{early:.0f} MB after a quarter, {late:.0f} MB at the end"
    )
    assert late < early + 4
