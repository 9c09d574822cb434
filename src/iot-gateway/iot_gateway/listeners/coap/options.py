"""The settings of the CoAP listener."""

from pydantic import Field, field_validator

from iot_gateway.interfaces import Options


class Lwm2mOptions(Options):
    """Settings of the LwM2M server, which shares the listener's port and security."""

    awake_seconds: float = Field(default=93, ge=1, le=3600)
    """How long a node in queue mode listens after it spoke (LwM2M 1.1, section 6.5: MAX_TRANSMIT_WAIT)."""
    answer_seconds: float = Field(default=20, ge=1, le=29)
    """How long a node may take to answer a write, an execution, or an observation."""
    poll_seconds: float = Field(default=60, ge=1, le=86400)
    """How often a node is asked for what it does not let be observed."""
    max_lifetime: int = Field(default=30 * 86400, ge=60)
    """Seconds; a longer lifetime is taken for this."""
    max_nodes: int = Field(default=10_000, ge=1, le=1_000_000)
    """Registrations that there may be at once."""


class CoapOptions(Options):
    """Settings of the listener."""

    addresses: list[str] = Field(default=["127.0.0.1"], min_length=1, max_length=16)
    """Where nodes reach it; IPv4 or IPv6, each an address of this machine and no wildcard: an answer must come from the
    address that was asked."""
    port: int = Field(default=5683, ge=0, le=65535)
    """0 for one that the system chooses, which only tests want."""
    gateway_id: str = Field(default="00", pattern=r"^([0-9a-f]{2}){0,7}$")
    """The gateway's own identifier in OSCORE, in hexadecimal; no node may have the same."""
    allow_plain: bool = False
    """Whether a node without an OSCORE key may name itself (``?node=<name>``), unprotected: for trusted links."""
    max_payload: int = Field(default=64 * 1024, ge=1024, le=256 * 1024)
    """Bytes, of all blocks together."""
    store_seconds: float = Field(default=1.5, ge=0.1, le=60)
    """How long a request waits for the disk before it is answered by 5.03; a node repeats a request after 2 s."""
    retry_seconds: int = Field(default=10, ge=1, le=3600)
    """What a node is told to wait then (Max-Age)."""
    lwm2m: Lwm2mOptions | None = None
    """Left out, there is no LwM2M."""

    @field_validator("addresses")
    @classmethod
    def _no_wildcard(cls, value: list[str]) -> list[str]:
        if any(address in ("0.0.0.0", "::", "") for address in value):  # noqa: S104 - it is what is refused
            raise ValueError("a wildcard can't be used; name the addresses")
        return value
