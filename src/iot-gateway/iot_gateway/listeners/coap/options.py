"""The settings of the CoAP listener."""

from typing import Annotated

from msgspec import Meta, field

from iot_gateway.interfaces import Options


class Lwm2mOptions(Options, frozen=True, kw_only=True):
    """Settings of the LwM2M server, which shares the listener's port and security."""

    awake_seconds: Annotated[float, Meta(ge=1, le=3600)] = 93
    """How long a node in queue mode listens after it spoke (LwM2M 1.1, section 6.5: MAX_TRANSMIT_WAIT)."""
    answer_seconds: Annotated[float, Meta(ge=1, le=29)] = 20
    """How long a node may take to answer a write, an execution, or an observation."""
    poll_seconds: Annotated[float, Meta(ge=1, le=86400)] = 60
    """How often a node is asked for what it does not let be observed."""
    max_lifetime: Annotated[int, Meta(ge=60)] = 30 * 86400
    """Seconds; a longer lifetime is taken for this."""
    max_nodes: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Registrations that there may be at once."""


class CoapOptions(Options, frozen=True, kw_only=True):
    """Settings of the listener."""

    addresses: Annotated[list[str], Meta(min_length=1, max_length=16)] = field(default_factory=lambda: ["127.0.0.1"])
    """Where nodes reach it; IPv4 or IPv6, each an address of this machine and no wildcard: an answer must come from the
    address that was asked."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 5683
    """0 for one that the system chooses, which only tests want."""
    gateway_id: Annotated[str, Meta(pattern=r"^([0-9a-f]{2}){0,7}\Z")] = "00"
    """The gateway's own identifier in OSCORE, in hexadecimal; no node may have the same."""
    allow_plain: bool = False
    """Whether a node without an OSCORE key may name itself (``?node=<name>``), unprotected: for trusted links."""
    max_payload: Annotated[int, Meta(ge=1024, le=256 * 1024)] = 64 * 1024
    """Bytes, of all blocks together."""
    store_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 1.5
    """How long a request waits for the disk before it is answered by 5.03; a node repeats a request after 2 s."""
    retry_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10
    """What a node is told to wait then (Max-Age)."""
    lwm2m: Lwm2mOptions | None = None
    """Left out, there is no LwM2M."""

    def __post_init__(self) -> None:
        """Check the addresses."""
        if any(address in ("0.0.0.0", "::", "") for address in self.addresses):  # noqa: S104 - it is what is refused
            raise ValueError("addresses: a wildcard can't be used; name the addresses")
