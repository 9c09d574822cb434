"""The settings of the disk outbox."""

from typing import Annotated, Literal

from msgspec import Meta

from iot_gateway.interfaces import Options


class DiskOptions(Options, frozen=True, kw_only=True):
    """Settings of a disk outbox; both bounds are for each lane."""

    max_bytes: Annotated[int, Meta(ge=2**20)] = 2**30
    """Bytes on disk at most."""
    segment_bytes: Annotated[int, Meta(ge=2**16)] = 8 * 2**20
    """Size at which a new segment is begun; also how much confirmed data may wait for its deletion."""
    full: Literal["refuse", "drop-oldest"] = "refuse"
    """What happens when there is no room: nothing more is taken, or the oldest segments go, counted."""
    max_age: Annotated[float, Meta(ge=0.0)] = 0.0
    """Seconds after which an entry is dropped, counted; 0 for never."""

    def __post_init__(self) -> None:
        """Check that several segments fit."""
        if self.segment_bytes * 4 > self.max_bytes:
            raise ValueError("segment_bytes must be at most a quarter of max_bytes")
