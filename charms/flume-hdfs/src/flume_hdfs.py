"""The agent that writes into HDFS: its files, its services, and whether it works."""

import secrets
import time
from pathlib import Path

from iot_charm import hadoop, services
from iot_charm.errors import IotCharmError
from iot_charm.flume import hdfs, service
from iot_charm.flume.agent import USER, Agent
from iot_charm.flume.hdfs import ROOT, SMOKE_TEST, HdfsAgent
from iot_charm.flume.store import Store
from iot_charm.interfaces.dfs import NameNode

LISTEN_S = 60
SMOKE_TEST_S = 60


class NotWorkingError(IotCharmError):
    """The agent does not do its work; the text says what is wrong and where to look."""


def install(agent: Agent, archive: Path) -> str:
    """Install what the agent needs; returns Flume's version.

    Raises:
        DistributionError: the archive can't be used.
    """
    service.install(agent, archive)
    return service.version(agent)


def configure(
    agent: Agent,
    namenode: NameNode,
    wanted: HdfsAgent,
    *,
    replication: int,
    open_for_s: int,
    heap_mb: int,
    charm_dir: Path,
) -> bool:
    """Have the agent and its recovery running as wanted.

    Returns:
        Whether the agent was started or restarted.
    """
    hadoop.write_client_conf(
        agent.hadoop_conf,
        namenode_host=namenode.host,
        namenode_port=namenode.port,
        replication=replication,
        block_size=namenode.block_size,
    )
    started = service.ensure_agent(
        agent,
        description=f"Flume agent of {agent.unit}: Avro to HDFS",
        heap_mb=heap_mb,
        files=[service.ConfFile(agent.properties_file, hdfs.properties(wanted, data=agent.data))],
    )
    service.ensure_companion(agent, _recovery(agent, namenode, open_for_s), charm_dir)
    return started


def disable(agent: Agent) -> None:
    """Stop the agent and its recovery for good; what the channel holds stays on disk."""
    service.disable(agent, _recovery(agent, None, 0))


def is_listening(port: int, *, timeout_s: float = LISTEN_S) -> bool:
    """Wait until the source listens; returns whether it does."""
    return services.wait_for_port("127.0.0.1", port, timeout_s)


def store(namenode: NameNode) -> Store:
    """Return HDFS, as the agent's user sees it."""
    return Store(_web_url(namenode), (namenode.host, namenode.port), user=USER)


def smoke_test(agent: Agent, files: Store, port: int) -> float:
    """Send an event to the agent's source and see it in HDFS; leaves nothing behind.

    Returns:
        Seconds until a reader could see it.

    Raises:
        NotWorkingError: the event did not arrive.
        AvroClientError: the source did not take it.
        StoreError: HDFS does not answer.
    """
    journal = f"see: journalctl -u {agent.service}"
    if not service.is_running(agent):
        raise NotWorkingError(f"the agent does not run; {journal}")
    token = f"smoke-test of {agent.unit}: {secrets.token_hex(8)}"
    parent = f"{ROOT}/{SMOKE_TEST}"
    directory = f"{parent}/{agent.name}"
    started = time.monotonic()
    service.send_event(
        agent, host="127.0.0.1", port=port, headers={"event_dir": SMOKE_TEST}, body=token, timeout_s=SMOKE_TEST_S
    )
    try:
        while not _is_there(files, directory, token):
            if time.monotonic() - started > SMOKE_TEST_S:
                raise NotWorkingError(f"no event in {directory} of HDFS after {SMOKE_TEST_S} s; {journal}")
            time.sleep(0.5)
        return time.monotonic() - started
    finally:
        files.delete(directory, recursive=True)
        if not files.list(parent):
            files.delete(parent)


def _is_there(files: Store, directory: str, token: str) -> bool:
    finished = [entry for entry in files.list(directory) if entry.name.startswith(f"{hdfs.FILE_PREFIX}.")]
    return any(files.read(entry.path, 0, entry.length) == f"{token}\n".encode() for entry in finished)


def _web_url(namenode: NameNode) -> str:
    return f"http://{namenode.host}:{namenode.web_port}"


def _recovery(agent: Agent, namenode: NameNode | None, open_for_s: int) -> service.Companion:
    addresses = ["--web", _web_url(namenode), "--namenode", f"{namenode.host}:{namenode.port}"] if namenode else []
    return service.Companion(
        "recovery",
        f"Recovery of files of {agent.service} in HDFS",
        [
            "iot_charm.flume.recovery_daemon",
            *addresses,
            "--unit",
            agent.name,
            "--service",
            agent.service,
            "--memory",
            str(agent.data / "recovery"),
            "--open-for",
            str(open_for_s),
        ],
        user=USER,
    )
