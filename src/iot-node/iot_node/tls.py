"""TLS of the link: who the gateway must prove to be, and what the node shows of itself."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from iot_node.errors import ConfigError


@dataclass(frozen=True)
class Tls:
    """The files, PEM."""

    ca: Path
    """The authority of the gateway's certificate, which must be for the host that is connected to."""
    certificate: Path | None = None
    """The node's own, where the gateway asks for one."""
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context of a client with these files as they are now.

        Raises:
            ConfigError: a file can't be read, or certificate and key do not belong together.
        """
        try:
            made = ssl.create_default_context(cafile=str(self.ca))
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                made.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # of which ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise ConfigError(f"TLS with {files}: {error}") from error
        return made


def describe(error: BaseException | None) -> str:
    """Return why no connection was made, with a colon before it; empty where nothing is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f": it does not prove who it is: {error.verify_message}"
    return f": {error}" if error is not None and str(error) else ""
