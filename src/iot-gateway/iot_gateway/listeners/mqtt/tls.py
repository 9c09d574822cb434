"""TLS for the listener (MQTT 5.0, section 5.4): the gateway's certificate, and the nodes' where they have one."""

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from iot_gateway.errors import ConfigError
from iot_gateway.interfaces import Options


class TlsOptions(Options, frozen=True, kw_only=True):
    """Settings of the encrypted listener."""

    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    certificate: Path
    """The gateway's certificate and those that lead to its authority, PEM."""
    key: Path
    client_ca: Path | None = None
    """The authority of the nodes' certificates; a node is called like its certificate's common name."""
    client_certificates: Literal["optional", "required"] = "optional"
    """Whether a node without a certificate may give a password instead; means nothing without ``client_ca``."""


def context(options: TlsOptions) -> ssl.SSLContext:
    """Return the context of a server with these files as they are now.

    Raises:
        ConfigError: a file can't be read, or they do not belong together.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # A node holds one connection for days: tickets for resuming it are memory for nothing.
    made.num_tickets = 0
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        made.load_cert_chain(options.certificate, options.key)
        if options.client_ca is not None:
            made.load_verify_locations(options.client_ca)
            required = options.client_certificates == "required"
            made.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (options.certificate, options.key, options.client_ca) if path)
        raise ConfigError(f"TLS with {files}: {error}") from error
    return made


def common_name(certificate: Any) -> str | None:
    """Return the common name of a verified certificate, as ``getpeercert`` gives it; None without one."""
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate["subject"] if certificate else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if names else None
