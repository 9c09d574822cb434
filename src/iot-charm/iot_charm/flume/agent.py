"""One Flume agent a unit: its directories, its service and the service of its companion.

Everything carries the unit's name, so that two units of Flume, of one charm or of two, can share a machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iot_charm import services
from iot_charm.files import ensure_directory

USER = "flume"
"""Runs every agent, and owns its files in HDFS."""

OPT, ETC, VAR = Path("/opt"), Path("/etc/flume"), Path("/var/lib/flume")

NAME = "agent"
"""The agent's name within its own configuration file."""


@dataclass(frozen=True)
class Agent:
    """The agent of one unit.

    Args:
        unit: the unit's name, as ``flume-hdfs/0``.
    """

    unit: str

    @property
    def name(self) -> str:
        """The unit's name as a file name."""
        return self.unit.replace("/", "-")

    @property
    def application(self) -> str:
        """The application's name."""
        return self.unit.partition("/")[0]

    @property
    def service(self) -> str:
        """The agent's systemd service."""
        return self.name if self.name.startswith("flume-") else f"flume-{self.name}"

    @property
    def home(self) -> Path:
        """The distribution; each application has its own, so that a refresh of one never touches another."""
        return OPT / self.distribution

    @property
    def distribution(self) -> str:
        """The name that the distribution is installed under."""
        return f"flume-dist-{self.application}"

    @property
    def conf(self) -> Path:
        """The configuration folder."""
        return ETC / self.name

    @property
    def properties_file(self) -> Path:
        """The agent's configuration."""
        return self.conf / "flume.properties"

    @property
    def hadoop_conf(self) -> Path:
        """The client configuration of Hadoop, for an agent that writes to HDFS."""
        return self.conf / "hadoop"

    @property
    def data(self) -> Path:
        """The folder that holds the channels."""
        return VAR / self.name

    def ensure_directories(self) -> bool:
        """Make the agent's folders.

        Returns:
            Whether anything changed.
        """
        made = [
            ensure_directory(self.conf.parent),
            ensure_directory(self.conf),
            ensure_directory(self.data.parent, owner=USER, group=USER),
            ensure_directory(self.data, mode=0o750, owner=USER, group=USER),
        ]
        return any(made)

    def unit_text(self, *, description: str, java_home: Path, heap_mb: int, java_options: Sequence[str] = ()) -> str:
        """Write the agent's systemd unit.

        Args:
            description: shown by ``systemctl status``.
            java_home: of the Java runtime.
            heap_mb: most memory for the JVM's heap, MiB.
            java_options: further ones of the JVM, without blanks.
        """
        java = [f"-Xms64m -Xmx{heap_mb}m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError", *java_options]
        return services.daemon_unit(
            description,
            [
                str(self.home / "bin/flume-ng"),
                "agent",
                "--name",
                NAME,
                "--conf-file",
                str(self.properties_file),
                # systemd starts a changed agent anew: a reload in place would leave half of it behind.
                "--no-reload-conf",
            ],
            user=USER,
            environment={
                "JAVA_HOME": str(java_home),
                "FLUME_JAVA_OPTS": " ".join(java),
                "HADOOP_CONF_DIR": str(self.hadoop_conf),
                "HADOOP_USER_NAME": USER,
            },
            # An agent that ends by itself has not done its work, whatever its exit status says.
            directives={"Restart": "always", "UMask": "0027"},
        )
