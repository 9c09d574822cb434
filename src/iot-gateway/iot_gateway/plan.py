"""How long the link can be down before the outbox can't take more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iot_gateway.rates import RateMeter
from iot_gateway.words import duration, size


@dataclass(frozen=True)
class Room:
    """What the outbox can still take, and what bounds it."""

    bytes: int
    bound: str

    @classmethod
    def of(cls, outbox: Mapping[str, Any]) -> "Room":
        """Return the room of an outbox, from its status."""
        allowed: int = max(0, outbox["max_bytes"] - outbox["used_bytes"])
        free: int = outbox["free_bytes"]
        return cls(free, "the free disk") if free < allowed else cls(allowed, "the outbox's bound in bytes")


def buffer(outbox: Mapping[str, Any], rate: RateMeter, full: str) -> dict[str, Any]:
    """Answer how long the link can be down.

    Args:
        outbox: its status.
        rate: of the bytes that it takes.
        full: what it does when it is full.

    Returns:
        ``answer`` in words; ``seconds`` at the average rate and ``seconds_at_peak``, None where nothing was measured;
        what they were reckoned from; ``assumptions``.
    """
    room = Room.of(outbox)
    seconds, at_peak = _seconds(room, rate.average), _seconds(room, max(rate.peak, rate.average))
    max_age: float = outbox["max_age"]
    return {
        "answer": _answer(room, rate, max_age, full),
        "seconds": _round(_bounded(seconds, max_age)),
        "seconds_at_peak": _round(_bounded(at_peak, max_age)),
        "bytes_per_second": round(rate.average, 1),
        "bytes_per_second_at_peak": round(max(rate.peak, rate.average), 1),
        "measured_seconds": round(rate.seconds),
        "room_bytes": room.bytes,
        "bound": room.bound,
        "max_age_seconds": max_age,
        "when_full": full,
        "assumptions": [
            f"readings come as in the last {duration(rate.seconds)}, or as in the fastest 10 s since the relay's start",
            "nothing else fills the disk meanwhile, dead letters included: they have a bound of their own",
            "what waits in the outbox now goes on waiting",
        ],
    }


def _seconds(room: Room, rate: float) -> float | None:
    return room.bytes / rate if rate > 0 else None


def _bounded(seconds: float | None, max_age: float) -> float | None:
    return min(seconds, max_age) if max_age and seconds is not None else seconds


def _round(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def _answer(room: Room, rate: RateMeter, max_age: float, full: str) -> str:
    seconds = _seconds(room, rate.average)
    if seconds is None:
        return (
            f"No reading came in the last {duration(rate.seconds)}, so no rate is known; "
            f"there is room for {size(room.bytes)} ({room.bound})."
        )
    after = "nothing more is acknowledged" if full == "refuse" else "the oldest readings are dropped"
    if max_age and max_age < seconds:
        return f"The link can be down for {duration(max_age)}: readings older than that are dropped (max_age)."
    at_peak = room.bytes / max(rate.peak, rate.average)
    return (
        f"The link can be down for {duration(seconds)} at the average of {size(rate.average)}/s, "
        f"or {duration(at_peak)} at the peak of {size(max(rate.peak, rate.average))}/s; then {after}. "
        f"There is room for {size(room.bytes)} ({room.bound})."
    )
