"""Real daemons as child processes, each with its own ports and directory, for the tests and the benchmarks.

The distribution's own services are neither used nor touched. A daemon dies with the process that started it.
"""

import contextlib
import ctypes
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pika

BROKEN = (pika.exceptions.AMQPError, OSError, ValueError)
"""What pika raises where a broker is not there, or goes: ValueError right after TCP's connection was made."""
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_PR_SET_PDEATHSIG = 1


PORTS = range(10_240, 28_000)
"""Below the ports that Linux gives to whoever connects (ip_local_port_range), and those of the tests of Hadoop."""
_candidates = itertools.islice(itertools.cycle(PORTS), random.randrange(len(PORTS)), None)


def free_port() -> int:
    """Return a port that nobody listens at, nor is given before a daemon that starts slowly does."""
    for port in itertools.islice(_candidates, len(PORTS)):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port of {PORTS} is free")


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def needed(program: str, package: str) -> str:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(f"{program} is needed: apt-get install {package}")
    return found


class Daemon:
    """A process that can be stopped, killed and started again."""

    def __init__(self, directory: Path, command: Sequence[str], environment: Mapping[str, str] | None = None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}

    def ready(self) -> bool:
        raise NotImplementedError

    def start(self, timeout: float = 40) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        process = self.process

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(
                    f"{self._command[0]} ended with {process.returncode}:\n{self.log.read_text()[-3000:]}"
                )
            return self.ready()

        wait_until(up, timeout, f"start of {self._command[0]} (log: {self.log})")

    def _end(self, number: signal.Signals, timeout: float) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def stop(self, timeout: float = 30) -> int:
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        self._end(signal.SIGKILL, 10)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


class Mosquitto(Daemon):
    """A mosquitto with users; ``configuration`` is given the port and the directory."""

    def __init__(
        self,
        directory: Path,
        users: Mapping[str, str],
        acl: str,
        *,
        extra: str = "max_inflight_messages 2000\nmax_queued_messages 1000000000\n",
    ):
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "acl").write_text(acl)
        passwords = directory / "passwords"
        passwords.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
        passwords.chmod(0o600)
        subprocess.run([needed("mosquitto_passwd", "mosquitto"), "-U", passwords], check=True, timeout=30)
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"""listener {self.port} 127.0.0.1
allow_anonymous false
password_file {passwords}
acl_file {directory / "acl"}
persistence true
persistence_location {directory}/
user root
{extra}"""
        )
        super().__init__(directory, [needed("mosquitto", "mosquitto"), "-c", str(configuration)])

    def ready(self) -> bool:
        return answers(self.port)


class SiteBroker(Daemon):
    """A mosquitto behind the relay: it listens on a Unix socket alone, and takes names without a password there."""

    def __init__(self, directory: Path, acl: str, *, extra: str = ""):
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "gateway.sock"
        (directory / "acl").write_text(acl)
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"""listener 0 {self.socket}
allow_anonymous true
acl_file {directory / "acl"}
persistence true
persistence_location {directory}/
max_inflight_messages 1000
max_queued_messages 1000000000
user root
log_type error
log_type warning
log_type notice
connection_messages false
{extra}"""
        )
        super().__init__(directory, [needed("mosquitto", "mosquitto"), "-c", str(configuration)])

    def ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


class RabbitMq(Daemon):
    """A RabbitMQ node of its own: name, ports, database, cookie and port mapper."""

    USER, PASSWORD, VHOST = "tests", "tests-password", "/"

    def __init__(self, directory: Path):
        needed("rabbitmq-server", "rabbitmq-server")
        self.port = free_port()
        self._epmd_port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(
            f"""listeners.tcp.1 = 127.0.0.1:{self.port}
default_user = {self.USER}
default_pass = {self.PASSWORD}
disk_free_limit.absolute = 100MB
log.console.level = warning
log.file = false
log.console = true
"""
        )
        plugins = directory / "enabled_plugins"
        plugins.write_text("[].\n")
        super().__init__(
            directory,
            [str(RABBITMQ_SERVER)],
            {
                "HOME": str(directory),  # of the Erlang cookie
                "ERL_EPMD_PORT": str(self._epmd_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
                "RABBITMQ_NODE_PORT": str(self.port),
                "RABBITMQ_DIST_PORT": str(free_port()),
                "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
                "RABBITMQ_LOG_BASE": str(directory / "logs"),
                "RABBITMQ_CONFIG_FILE": str(configuration),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
                "RABBITMQ_PID_FILE": str(directory / "pid"),
                # Two schedulers' worth of busy waiting is not worth it next to everything else on this machine.
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            },
        )

    def ready(self) -> bool:
        if not answers(self.port):
            return False
        try:
            self.connect().close()
        except BROKEN:
            return False
        return True

    def connect(self) -> pika.BlockingConnection:
        credentials = pika.PlainCredentials(self.USER, self.PASSWORD)
        return pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", self.port, self.VHOST, credentials, socket_timeout=5)
        )

    def offer_tls(self, certificate: str, key: str, ca: str) -> int:
        """Have the node listen for TLS as well once it starts; returns the port.

        Args:
            certificate: PEM; kept as ``cert.pem`` in the node's directory, where a test can replace it.
            key: PEM, likewise ``key.pem``.
            ca: PEM, likewise ``ca.pem``.
        """
        files = {"cacertfile": ("ca.pem", ca), "certfile": ("cert.pem", certificate), "keyfile": ("key.pem", key)}
        port = free_port()
        lines = [
            f"listeners.ssl.default = {port}",
            "ssl_options.versions.1 = tlsv1.3",
            "ssl_options.versions.2 = tlsv1.2",
        ]
        lines += ["ssl_options.verify = verify_none", "ssl_options.fail_if_no_peer_cert = false"]
        for option, (name, text) in files.items():
            path = self.directory / name
            path.write_text(text)
            lines.append(f"ssl_options.{option} = {path}")
        with (self.directory / "rabbitmq.conf").open("a") as configuration:
            configuration.write("\n".join([*lines, ""]))
        return port

    def control(self, *arguments: str) -> None:
        """Run rabbitmqctl on this node."""
        program = RABBITMQ_SERVER.with_name("rabbitmqctl")
        subprocess.run([program, *arguments], env=self._environment, check=True, capture_output=True, timeout=60)

    def close(self) -> None:
        """Stop the node for good, and the port mapper that it started."""
        self.stop()
        environment = {**os.environ, "ERL_EPMD_PORT": str(self._epmd_port)}
        subprocess.run(
            [needed("epmd", "erlang-base"), "-kill"], env=environment, capture_output=True, check=False, timeout=10
        )
