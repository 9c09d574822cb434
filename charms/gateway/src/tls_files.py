"""The files of TLS that the relay reads; each is replaced whole, and the relay reads them again when it reloads."""

from pathlib import Path

from iot_charm.files import ensure_directory, ensure_file, remove

DIRECTORY = Path("/etc/iot-gateway/tls")
CERTIFICATE, KEY = "cert.pem", "key.pem"
CLIENT_CA = "client-ca.pem"
LISTENER_CA = "ca.pem"
"""The authority of the gateway's own certificate; the relay does not need it, the charm tells it to nodes."""
BROKER_CA = "broker-ca.pem"


def ensure(files: dict[str, str], *, user: str) -> None:
    """Have these files, by name, and no others; an empty text is none."""
    wanted = {name: text for name, text in files.items() if text}
    ensure_directory(DIRECTORY)
    # The key first: a certificate without its key is of no use.
    for name in sorted(wanted, key=lambda name: name != KEY):
        if name == KEY:
            ensure_file(DIRECTORY / name, wanted[name], mode=0o600, owner=user, group=user)
        else:
            ensure_file(DIRECTORY / name, wanted[name])
    for path in DIRECTORY.iterdir():
        if path.name not in wanted:
            remove(path)


def kept(name: str) -> str:
    """Return a file's text as it is; empty without one."""
    path = DIRECTORY / name
    return path.read_text() if path.exists() else ""
