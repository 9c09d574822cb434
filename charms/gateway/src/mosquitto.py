"""The site's MQTT broker: the distribution's mosquitto, behind the relay, which alone can reach it."""

from pathlib import Path

from iot_charm import packages, services
from iot_charm.files import ensure_file, remove

SERVICE = "mosquitto"
OWNER = "mosquitto"
GROUP = "iot-gateway"
"""The relay's: who is in it may connect under any node's name."""
DIRECTORY = Path("/etc/mosquitto")
MAIN = DIRECTORY / "mosquitto.conf"
CONFIGURATION = DIRECTORY / "conf.d/iot-gateway.conf"
ACL = DIRECTORY / "iot-gateway.acl"
SOCKET = Path("/run/mosquitto/gateway.sock")
_FORMER_PASSWORDS = DIRECTORY / "iot-gateway.passwords"

RELAY_USER = "iot-gateway"
PROBE_USER = "smoke-test"
RESERVED = frozenset({RELAY_USER, PROBE_USER})
MAX_PACKET_BYTES = 2**20
RECEIVE_MAXIMUM = 1000


def configuration() -> str:
    """Return the configuration, which the distribution's own main file includes."""
    return f"""# Written by the gateway charm; changes are overwritten.
# Clients reach the relay. It lets them in, and speaks for each of them here, by name and without a password: the
# directory of the socket lets nobody else through.
listener 0 {SOCKET}
allow_anonymous true
acl_file {ACL}

# Not every save of the queue, and not every connection, which the relay tells of.
log_type error
log_type warning
log_type notice
connection_messages false

# The relay's own session outlives its connection, and nothing is dropped while it is away.
# Not 0, which means no bound as well: mosquitto 2.0.11 then disconnects a client for a topic that it may not write on.
max_queued_messages 1000000000
max_queued_bytes 0
# What the relay lets a client have on its way without an acknowledgement.
max_inflight_messages {RECEIVE_MAXIMUM}
max_inflight_bytes 0
max_packet_size {MAX_PACKET_BYTES}
# Subscriptions, sessions and retained values are written at a stop, and so often (s) for the case of a power cut.
autosave_interval 10
"""


def acl(topic_prefix: str, commands_prefix: str) -> str:
    """Return who may do what on which topic; what is not mentioned is forbidden.

    ``%u`` is the node's name: nodes come and go without the broker being told.
    """
    return f"""# Written by the gateway charm; changes are overwritten.
user {RELAY_USER}
topic readwrite {topic_prefix}/#
topic write {commands_prefix}/#

pattern read {commands_prefix}/%u
pattern write {topic_prefix}/%u
pattern write {topic_prefix}/%u/#
"""


def unit() -> str:
    """Return the systemd unit, in place of the distribution's of the same name.

    Its broker makes the socket with its own group, and in a directory that others may not enter; this one has the
    relay's group instead, and starts again whatever ended it.
    """
    return services.daemon_unit(
        "MQTT broker behind the IoT gateway",
        ["/usr/sbin/mosquitto", "-c", str(MAIN)],
        user=OWNER,
        directives={
            "Type": "notify",
            "NotifyAccess": "main",
            "Group": GROUP,
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "Restart": "always",
            "RestartSec": "1",
            "TimeoutStopSec": "30",
            "RuntimeDirectory": "mosquitto",
            "RuntimeDirectoryMode": "0750",
            "StateDirectory": "mosquitto",
            "StateDirectoryMode": "0750",
            "LogsDirectory": "mosquitto",
            "UMask": "0007",
            "NoNewPrivileges": "yes",
            "CapabilityBoundingSet": "",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
        },
    )


def ensure_broker(topic_prefix: str, commands_prefix: str) -> None:
    """Have the broker installed and running with this configuration. The relay's group must be there.

    Raises:
        systemd.SystemdError: the broker does not start.
    """
    packages.ensure_packages("mosquitto")
    remove(_FORMER_PASSWORDS)
    ensure_file(ACL, acl(topic_prefix, commands_prefix), mode=0o600, owner=OWNER, group=GROUP)
    ensure_file(CONFIGURATION, configuration())
    services.ensure_unit(SERVICE, unit())
    # The package starts a broker of its own, which has no stamp: it is never taken for ours.
    services.ensure_running(SERVICE, [CONFIGURATION], rereads=[ACL])


def running() -> bool:
    """Tell whether the broker runs."""
    return services.is_running(SERVICE)


def stop() -> None:
    """Stop the broker."""
    services.stop(SERVICE)


def remove_unit() -> None:
    """Stop the broker for good; the distribution's own unit is what is left."""
    services.disable(SERVICE)
