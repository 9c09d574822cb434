"""What a machine knows of others: their names, and the name servers."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

_BEGIN = "# tabletop: machines, do not edit between these lines"
_END = "# tabletop: end of machines"
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")


def with_machines(text: str, addresses: Mapping[str, str]) -> str:
    """A hosts file with our block of names put in or renewed; the other lines stay as they are."""
    before, begin, rest = text.partition(_BEGIN + "\n")
    after = rest.partition(_END + "\n")[2] if begin else ""
    if before and not before.endswith("\n"):
        before += "\n"
    lines = "".join(f"{address} {name}\n" for name, address in addresses.items())
    return f"{before}{_BEGIN}\n{lines}{_END}\n{after}"


def write_machines(root: Path, addresses: Mapping[str, str]) -> None:
    """Renew the names in the hosts file of the machine whose root directory is ``root``."""
    file = root / "etc/hosts"
    old = file.read_text() if file.is_file() and not file.is_symlink() else "127.0.0.1 localhost\n"
    new = with_machines(old, addresses)
    if new != old:
        write_inside(file, new)


def write_inside(file: Path, text: str) -> None:
    """Write a file of a machine from the host.

    It is replaced whole, so that a reader in the machine sees the old text or the new one; and a symbolic link in its
    place, which on the host would lead to the host's own file of that name, is not followed.
    """
    draft = file.with_name(f".{file.name}.tabletop")
    draft.unlink(missing_ok=True)
    with draft.open("x") as stream:
        stream.write(text)
    draft.chmod(0o644)
    draft.replace(file)


def for_machines(text: str) -> str:
    """A resolv.conf without the name servers that only the host itself can reach."""
    kept: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_loopback(words[1]):
            continue
        kept.append(line)
    return "".join(line + "\n" for line in kept)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def loopback_server(file: Path = Path("/etc/resolv.conf")) -> str | None:
    """The name server on its own IPv4 loopback that the host asks, if it asks one."""
    for line in file.read_text().splitlines() if file.exists() else ():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_loopback(words[1]) and ":" not in words[1]:
            return words[1]
    return None


def has_server(text: str) -> bool:
    """Whether a resolv.conf names a name server."""
    return any(line.split()[:1] == ["nameserver"] for line in text.splitlines())


def resolv_conf_of_host(file: Path = Path("/etc/resolv.conf"), resolved: Path = _RESOLVED) -> str:
    """The host's name servers as the machines can use them.

    A host that asks systemd-resolved on its own loopback has the real servers in a second file.
    """
    text = for_machines(file.read_text()) if file.exists() else ""
    if not has_server(text) and resolved.exists():
        text = for_machines(resolved.read_text())
    return text
