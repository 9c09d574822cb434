"""A RabbitMQ node with its management API, and the modules of the rabbitmq charm that tell it what there is to be."""

import sys
from pathlib import Path

import requests
from daemons import RabbitMq, answers, free_port

sys.path.insert(0, str(Path(__file__).parents[2] / "charms/rabbitmq/src"))

import topology
from management import Management, ManagementError
from rabbitmq import PLUGINS

LIMITS = topology.Limits(delivery_limit=3, stream_max_bytes=20_000_000, stream_max_age="1h", nodes_max_bytes=200_000)


class ManagedRabbitMq(RabbitMq):
    """A node with the plugins that the charm has."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.management_port = free_port()
        with (directory / "rabbitmq.conf").open("a") as configuration:
            configuration.write(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n")
            configuration.write("amqp1_0.default_user = none\n")
        (directory / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    def ready(self) -> bool:
        if not super().ready() or not answers(self.management_port):
            return False
        try:
            return self.management().whoami() == self.USER
        except ManagementError:
            return False

    def management(self) -> Management:
        return Management(self.url, self.USER, self.PASSWORD)

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host, which the charm never does.

        Args:
            name: without a character that a URL would have to escape.
        """
        with requests.Session() as session:
            session.trust_env = False  # no proxy between a machine and itself
            session.auth = (self.USER, self.PASSWORD)
            session.delete(f"{self.url}/api/vhosts/{name}", timeout=20).raise_for_status()
