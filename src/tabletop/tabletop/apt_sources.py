"""The host's own package sources, read from both forms that apt knows (sources.list(5))."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_POCKETS = ("", "-updates", "-security", "-backports")
_ONE_LINE = re.compile(
    r"^(?P<type>deb|deb-src)\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)$"
)
_OPTION_FIELDS = {
    "signed-by": "Signed-By",
    "arch": "Architectures",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "check-date": "Check-Date",
}
_UBUNTU_MAIN = frozenset({"amd64", "i386"})
"""What Ubuntu's main archive holds; all other architectures are in its archive of ports."""
_UBUNTU_HOSTS = re.compile(r"://(?:(?:[a-z]{2}\.)?archive|security)\.ubuntu\.com/ubuntu\b")
_KEPT_FIELDS = frozenset(_OPTION_FIELDS.values()) - {"Architectures"}


@dataclass(frozen=True)
class Source:
    """Package archives of one kind: every URI has every suite with every component."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    """Those it is for; empty: all."""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further fields, by their deb822 names; a value may have several lines."""

    @property
    def keyring(self) -> Path | None:
        """The file with the keys that sign it, if it is named."""
        signed_by = self.options.get("Signed-By", "")
        return Path(signed_by) if signed_by.startswith("/") else None

    def to_deb822(self) -> str:
        """The source as a stanza of a ``.sources`` file."""
        lines = ["Types: deb", f"URIs: {' '.join(self.uris)}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        lines += [f"{name}: {value}" for name, value in sorted(self.options.items())]
        return "\n".join(lines) + "\n"


def parse_one_line(text: str) -> list[Source]:
    """Read a ``.list`` file; lines that name no binary packages are left out."""
    sources: list[Source] = []
    for raw in text.splitlines():
        match = _ONE_LINE.match(raw.partition("#")[0].strip())
        if match is None or match["type"] != "deb":
            continue
        fields = {
            _OPTION_FIELDS[name]: value
            for name, _, value in (option.partition("=") for option in (match["options"] or "").split())
            if name in _OPTION_FIELDS
        }
        sources.append(_source(fields, (match["uri"],), (match["suite"],), tuple(match["components"].split())))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Read a ``.sources`` file; stanzas that are disabled or name no binary packages are left out."""
    sources: list[Source] = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes").lower() in {"no", "false"}:
            continue
        sources.append(
            _source(
                fields,
                tuple(fields.get("Uris", "").split()),
                tuple(fields.get("Suites", "").split()),
                tuple(fields.get("Components", "").split()),
            )
        )
    return sources


def _fields(stanza: str) -> dict[str, str]:
    """Field names are written in any case; here each word of them begins with a capital."""
    fields: dict[str, str] = {}
    last = ""
    for line in stanza.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            fields[last] += "\n" + line
        else:
            name, _, value = line.partition(":")
            last = name.strip().title()
            fields[last] = value.strip()
    return fields


def _source(
    fields: Mapping[str, str], uris: tuple[str, ...], suites: tuple[str, ...], components: tuple[str, ...]
) -> Source:
    architectures = tuple(fields.get("Architectures", "").replace(",", " ").split())
    options = {name: value for name, value in fields.items() if name in _KEPT_FIELDS}
    return Source(uris, suites, components, architectures, options)


def of_distribution(sources: Iterable[Source], codename: str, architecture: str) -> list[Source]:
    """Those sources that are the distribution's own: what others publish for it has no place in a base image.

    A source belongs to the distribution if its suites are the release and its updates, and a keyring of the
    distribution signs it, or none is named. Where no source is left by that (a mirror that signs with its own key),
    the suites alone decide.
    """
    suites = {codename + pocket for pocket in _POCKETS}
    fitting: list[Source] = []
    for source in sources:
        kept = tuple(suite for suite in source.suites if suite in suites)
        if kept and (not source.architectures or architecture in source.architectures):
            fitting.append(Source(source.uris, kept, source.components, source.architectures, source.options))
    own = [source for source in fitting if source.keyring is None or _is_archive_keyring(source.keyring)]
    return own or fitting


def ported(sources: Iterable[Source], architecture: str, host: str) -> list[Source]:
    """Ubuntu's sources of one architecture, from those of a host of another.

    The main archive and the archive of ports are laid out alike, at ``.../ubuntu`` and ``.../ubuntu-ports``; Ubuntu's
    own servers of the latter are called ports.ubuntu.com, and mirrors have both below one name. Sources that name the
    architecture stay as they are.

    Args:
        sources: the host's sources, of the distribution alone.
        architecture: dpkg's name of the wanted one.
        host: dpkg's name of the host's own.
    """
    all_sources = list(sources)
    if named := [source for source in all_sources if architecture in source.architectures]:
        return named
    if (architecture in _UBUNTU_MAIN) == (host in _UBUNTU_MAIN):
        return all_sources
    return [dataclasses.replace(source, uris=tuple(map(_other_archive, source.uris))) for source in all_sources]


def _other_archive(uri: str) -> str:
    if "ports.ubuntu.com/ubuntu-ports" in uri:
        return uri.replace("ports.ubuntu.com/ubuntu-ports", "archive.ubuntu.com/ubuntu")
    if "/ubuntu-ports" in uri:
        return uri.replace("/ubuntu-ports", "/ubuntu")
    uri = _UBUNTU_HOSTS.sub("://ports.ubuntu.com/ubuntu-ports", uri)
    return uri if "/ubuntu-ports" in uri else re.sub(r"/ubuntu(?=/?$)", "/ubuntu-ports", uri)


def _is_archive_keyring(keyring: Path) -> bool:
    return keyring.name.startswith(("debian-archive", "ubuntu-archive"))


def read_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """Read every source of a host, in apt's order."""
    sources: list[Source] = []
    main = apt / "sources.list"
    if main.is_file():
        sources += parse_one_line(main.read_text())
    for file in sorted((apt / "sources.list.d").glob("*")):
        if file.suffix == ".list":
            sources += parse_one_line(file.read_text())
        elif file.suffix == ".sources":
            sources += parse_deb822(file.read_text())
    return sources
