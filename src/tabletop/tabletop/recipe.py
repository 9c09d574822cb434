"""What a base image is made of, all of it taken from the host; the same recipe is the same image."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabletop.apt_sources import of_distribution, ported, read_sources
from tabletop.emulation import is_emulated
from tabletop.errors import TabletopError
from tabletop.programs import run
from tabletop.version import host_architecture

_FORMAT = 2  # one more whenever the image's own recipe changes, so that cached ones are made anew
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "python3",
    "python3-venv",
    "ca-certificates",
    "perl-base",
    "procps",
    "sudo",
    "iputils-ping",
    "netbase",
)
_APT_SETTINGS = re.compile(r"^Acquire::(http|https|ftp|Check-|Retries|ForceIPv|Max-ValidTime)", re.IGNORECASE)
_PIP = (Path("/etc/pip.conf"), Path("~/.config/pip/pip.conf"), Path("~/.pip/pip.conf"))
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """All that decides what is in a base image."""

    distribution: str
    suite: str
    architecture: str
    packages: tuple[str, ...]
    sources: str
    """Package sources in deb822 form."""
    apt: str = ""
    """The host's settings of how apt fetches: proxies, certificates, checks."""
    certificates: str = ""
    """The host's bundle of trusted certificates, in PEM form."""
    pip: str = ""
    """The host's ``pip.conf``."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Further files, by absolute path: keyrings and logins of the package sources, local certificates."""

    @classmethod
    def of_host(cls, include: Sequence[str] = (), architecture: str | None = None) -> "Recipe":
        """Read the host's configuration.

        Args:
            include: packages beyond those that every machine has.
            architecture: dpkg's name of the machines' architecture; the host's own if None.

        Raises:
            TabletopError: the host is no Debian or Ubuntu, or has no package sources for itself.
        """
        distribution, suite = distribution_of_host()
        own = host_architecture()
        architecture = architecture or own
        sources = of_distribution(read_sources(), suite, architecture)
        if distribution == "ubuntu":
            sources = ported(sources, architecture, own)
        if not sources:
            raise TabletopError(
                f"/etc/apt names no package source for {distribution} {suite} ({architecture}): "
                f"the base image is made from the host's own sources."
            )
        keyrings = [source.keyring for source in sources if source.keyring is not None]
        return cls(
            distribution=distribution,
            suite=suite,
            architecture=architecture,
            packages=tuple(dict.fromkeys([*PACKAGES, *sorted(include)])),
            sources="\n".join(source.to_deb822() for source in sources),
            apt=_apt_settings(),
            certificates=_read(Path("/etc/ssl/certs/ca-certificates.crt")),
            pip=next(filter(None, (_read(path.expanduser()) for path in _PIP)), ""),
            files=_collect(
                [
                    *keyrings,
                    *Path("/etc/apt/trusted.gpg.d").glob("*"),
                    Path("/etc/apt/auth.conf"),
                    *Path("/etc/apt/auth.conf.d").glob("*.conf"),
                    *Path("/usr/local/share/ca-certificates").rglob("*.crt"),
                ]
            ),
        )

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that differ whenever anything of the recipe does."""
        digest = hashlib.sha256()
        for value in (_FORMAT, self.distribution, self.suite, self.architecture, self.packages, self.sources):
            digest.update(json.dumps(value).encode() + b"\0")
        if is_emulated(self.architecture):
            digest.update(b"emulated 1\0")  # such an image is furnished otherwise
        for value in (self.apt, self.certificates, self.pip):
            digest.update(value.encode() + b"\0")
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()[:12]

    @property
    def kind(self) -> str:
        """Suite and architecture: packages are exchanged between machines of one kind."""
        return f"{self.suite}-{self.architecture}"


def distribution_of_host(os_release: str | None = None) -> tuple[str, str]:
    """The host's distribution and release, such as ``("debian", "bookworm")``.

    Raises:
        TabletopError: it is neither Debian nor Ubuntu.
    """
    try:
        fields = _parse_os_release(os_release) if os_release is not None else platform.freedesktop_os_release()
    except OSError:
        fields: dict[str, str] = {}
    distribution, suite = fields.get("ID", ""), fields.get("VERSION_CODENAME", "")
    if distribution not in {"debian", "ubuntu"} or not suite:
        name = fields.get("PRETTY_NAME", "this host's system")
        raise TabletopError(f"tabletop runs on Debian 12 and Ubuntu 24.04; this is {name}.")
    return distribution, suite


def _parse_os_release(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, _, value in pairs}


def certificates_in(pem: str) -> list[str]:
    """The certificates of a bundle, each with its marks and nothing around them."""
    return [match.group().strip() + "\n" for match in _CERTIFICATE.finditer(pem)]


def _apt_settings(environment: Mapping[str, str] = os.environ) -> str:
    lines = [line for line in run(["apt-config", "dump"]).splitlines() if _APT_SETTINGS.match(line)]
    for scheme in ("http", "https"):
        proxy = environment.get(f"{scheme}_proxy", "")
        # A proxy on the host's own loopback can't be reached from a machine.
        if proxy and not re.search(r"//(localhost|127\.|\[::1\])", proxy):
            lines.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "".join(line + "\n" for line in lines)


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _collect(paths: Sequence[Path]) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in paths if path.is_file()}
