"""The site's MQTT broker: the distribution's mosquitto, with users, topics and limits of ours."""

import base64
import hashlib
import logging
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from charmlibs import systemd

from iot_charm import packages, services
from iot_charm.files import ensure_file

logger = logging.getLogger(__name__)

SERVICE = "mosquitto"
OWNER = "mosquitto"
DIRECTORY = Path("/etc/mosquitto")
CONFIGURATION = DIRECTORY / "conf.d/iot-gateway.conf"
PASSWORDS = DIRECTORY / "iot-gateway.passwords"
ACL = DIRECTORY / "iot-gateway.acl"

RELAY_USER = "iot-gateway"
PROBE_USER = "smoke-test"
RESERVED = frozenset({RELAY_USER, PROBE_USER})
LOOPBACK = "127.0.0.1"


class MosquittoError(Exception):
    """A program of mosquitto failed."""


@dataclass(frozen=True)
class Settings:
    """What the broker's configuration depends on."""

    address: str
    """Where nodes reach it; the relay reaches it on the loopback."""
    port: int
    topic_prefix: str


def configuration(settings: Settings) -> str:
    """Return the configuration, which the distribution's own main file includes."""
    addresses = dict.fromkeys((LOOPBACK, settings.address))
    listeners = "".join(f"listener {settings.port} {address}\n" for address in addresses)
    return f"""# Written by the gateway charm; changes are overwritten.
{listeners}
# Not every save of the queue.
log_type error
log_type warning
log_type notice

allow_anonymous false
password_file {PASSWORDS}
acl_file {ACL}

# The relay's session outlives its connection, and nothing is dropped while it is away: neither by number nor by size.
# Not 0, which means no bound as well: mosquitto 2.0.11 then disconnects a client for a topic that it may not write on.
max_queued_messages 1000000000
max_queued_bytes 0
# Messages that may be on their way to the relay (or from a node) without an acknowledgement.
max_inflight_messages 2000
max_inflight_bytes 0
# A larger packet ends the connection; message_size_limit would have it acknowledged and dropped. The relay reads
# payloads of up to 256 KiB and makes dead letters of those between.
max_packet_size 1048576
# The queue is written at a stop, and so often (s) for the case of a power cut.
autosave_interval 10
"""


def acl(settings: Settings, nodes: Iterable[str]) -> str:
    """Return who may do what on which topic; what is not mentioned is forbidden."""
    prefix = settings.topic_prefix
    rules = [f"user {RELAY_USER}\ntopic read {prefix}/#\n"]
    for name in (*sorted(nodes), PROBE_USER):
        rules.append(f"user {name}\ntopic write {prefix}/{name}\ntopic write {prefix}/{name}/#\n")
    return "# Written by the gateway charm; changes are overwritten.\n" + "\n".join(rules)


def password_lines(users: Mapping[str, str], present: str) -> str:
    """Return the content of the password file, with hashes only.

    A line that is there stays if it still fits the password: a fresh salt for each user at each call would have the
    broker read its files again for nothing.

    Raises:
        MosquittoError: ``mosquitto_passwd`` failed.
    """
    known = {line.partition(":")[0]: line for line in present.splitlines()}
    fitting = {user: known[user] for user, password in users.items() if user in known and _fits(known[user], password)}
    fresh = {user: password for user, password in users.items() if user not in fitting}
    lines = {**fitting, **_hash(fresh)}
    return "".join(f"{lines[user]}\n" for user in sorted(lines))


def _fits(line: str, password: str) -> bool:
    """Tell whether a line ``user:$7$<iterations>$<salt>$<hash>`` (PBKDF2 with SHA-512) is this password's."""
    try:
        _, kind, iterations, salt, digest = line.partition(":")[2].split("$")
        expected = base64.b64decode(digest, validate=True)
        made = hashlib.pbkdf2_hmac(
            "sha512", password.encode(), base64.b64decode(salt, validate=True), int(iterations), len(expected)
        )
    except ValueError:
        return False
    return kind == "7" and made == expected


def _hash(users: Mapping[str, str]) -> dict[str, str]:
    """Hash passwords with mosquitto's own program, which takes them in a file: arguments are for all to see."""
    if not users:
        return {}
    with tempfile.TemporaryDirectory(prefix="iot-gateway-") as directory:
        path = Path(directory, "passwords")
        path.touch(mode=0o600)
        path.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
        done = subprocess.run(["mosquitto_passwd", "-U", path], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise MosquittoError(f"mosquitto_passwd failed: {done.stderr.strip()}")
        return {line.partition(":")[0]: line for line in path.read_text().splitlines()}


def ensure_broker(settings: Settings, users: Mapping[str, str]) -> None:
    """Have the broker installed and running with this configuration and these users, and no others.

    Args:
        settings: of the broker.
        users: name -> password, of the relay and of the nodes.

    Raises:
        MosquittoError: a password can't be hashed.
        systemd.SystemdError: the broker does not start.
    """
    packages.ensure_packages("mosquitto")
    present = PASSWORDS.read_text() if PASSWORDS.exists() else ""
    changed = ensure_file(PASSWORDS, password_lines(users, present), mode=0o600, owner=OWNER, group=OWNER)
    changed |= ensure_file(ACL, acl(settings, users.keys() - RESERVED), mode=0o600, owner=OWNER, group=OWNER)
    restart = ensure_file(CONFIGURATION, configuration(settings))
    if not services.ensure_running(SERVICE, restart=restart) and changed:
        # Reading users again leaves connections alone, but for those whose identity is gone.
        logger.info("mosquitto reads its users again")
        systemd.service_reload(SERVICE)


def running() -> bool:
    """Tell whether the broker runs."""
    return services.is_running(SERVICE)


def stop() -> None:
    """Stop the broker."""
    services.stop(SERVICE)
