"""The NameNode on this machine."""

import hashlib
import logging
import re
import secrets
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iot_charm import hadoop, hadoop_node, services
from iot_charm.errors import IotCharmError
from iot_charm.files import ensure_directory, ensure_file, remove
from iot_charm.webhdfs import WebHdfs

logger = logging.getLogger(__name__)

SERVICE = "hadoop-namenode"
USER = "hdfs"
"""Runs the NameNode, hence the file system's superuser."""

PORT, WEB_PORT = 8020, 9870

NAME_DIRECTORY = hadoop_node.DATA / USER / "name"
STOPPED = hadoop_node.DATA / "namenode-stopped"
"""Is there while an operator wants the NameNode stopped."""


class NameNodeError(IotCharmError):
    """HDFS did not do what was asked; the text says why."""


@dataclass(frozen=True)
class Settings:
    """What the NameNode is configured by."""

    address: str
    replication: int
    """Copies of a new file, unless its client says otherwise."""
    block_size: int
    heap_mb: int


@dataclass(frozen=True)
class Report:
    """What a NameNode that answers says of itself."""

    datanodes: int
    """Live ones."""
    safe_mode: bool
    """Nothing can be written (yet)."""
    cluster_id: str


def install(archive: Path) -> None:
    """Install the software."""
    hadoop_node.ensure_software(archive, [USER])


def ensure_running(settings: Settings, *, restart: bool = False) -> bool:
    """Configure the NameNode, format a new file system if there is none yet, and have it running.

    Returns:
        Whether it was started or restarted.
    """
    sites = _sites(settings)
    # What clients choose for new files: nothing that the NameNode itself would have to be restarted for.
    client = hadoop.hdfs_client_properties(settings.replication, settings.block_size)
    hadoop.write_conf(hadoop_node.CONF, {**sites, "hdfs": {**sites["hdfs"], **client}})
    _ensure_formatted()
    if is_stopped():
        return False
    return hadoop_node.ensure_daemon(
        SERVICE, ["hdfs", "namenode"], user=USER, heap_mb=settings.heap_mb, sites=sites, restart=restart
    )


def _sites(settings: Settings) -> dict[str, hadoop.Properties]:
    address = settings.address
    return {
        "core": {
            **hadoop.core_properties(address, PORT),
            # Users exist in HDFS alone: asking the machine for their groups only fills the log.
            "hadoop.security.group.mapping": "org.apache.hadoop.security.NullGroupsMapping",
        },
        "hdfs": {
            "dfs.namenode.rpc-address": f"{address}:{PORT}",
            "dfs.namenode.http-address": f"{address}:{WEB_PORT}",
            "dfs.namenode.name.dir": NAME_DIRECTORY.as_uri(),
            "dfs.permissions.enabled": True,
            # DataNodes are known by their addresses; nothing needs a name server.
            "dfs.namenode.datanode.registration.ip-hostname-check": False,
            # A DataNode that is gone counts as dead after 2 x 30 s + 10 x 3 s instead of 10.5 minutes.
            "dfs.namenode.heartbeat.recheck-interval": 30000,
            # Nothing is promised before a DataNode is there and had time to report its blocks.
            "dfs.namenode.safemode.min.datanodes": 1,
            "dfs.namenode.safemode.extension": 3000,
            "dfs.namenode.handler.count": 10,
        },
    }


def _ensure_formatted() -> None:
    """Make an empty file system where there is none; one that exists is never touched.

    It is made aside and renamed, so that an interruption leaves no half of one.
    """
    if has_file_system():
        return
    fresh = NAME_DIRECTORY.with_name("name.new")
    remove(fresh)
    ensure_directory(fresh, owner=USER, mode=0o700)
    logger.info("formatting a new file system in %s", NAME_DIRECTORY)
    _hdfs("namenode", f"-Ddfs.namenode.name.dir={fresh.as_uri()}", "-format", "-nonInteractive")
    fresh.rename(NAME_DIRECTORY)


def _hdfs(*arguments: str, timeout_s: float = 300) -> str:
    try:
        return subprocess.run(
            [hadoop.HOME / "bin" / "hdfs", *arguments],
            env={"PATH": "/usr/bin:/bin", **hadoop_node.environment()},
            user=USER,
            group=USER,
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
        ).stdout
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr + error.stdout).splitlines() if line.strip()]
        raise NameNodeError(f"hdfs {' '.join(arguments)}: {lines[-1] if lines else error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise NameNodeError(f"hdfs {' '.join(arguments)}: no end after {timeout_s:.0f} s") from error


def has_file_system() -> bool:
    """Tell whether there is a file system on this machine."""
    return NAME_DIRECTORY.exists()


def is_stopped() -> bool:
    """Tell whether an operator wants the NameNode stopped."""
    return STOPPED.exists()


def stop() -> None:
    """Stop the NameNode and keep it stopped."""
    ensure_file(STOPPED, "")
    services.disable(SERVICE)


def allow_start() -> None:
    """Take back :func:`stop`; :func:`ensure_running` then starts the NameNode."""
    remove(STOPPED)


def uninstall() -> None:
    """Stop the NameNode and remove its service; the file system's data stay."""
    services.disable(SERVICE)


def report(address: str) -> Report | None:
    """Ask the NameNode how it is; None while it does not answer."""
    info = hadoop_node.get_bean(address, WEB_PORT, "Hadoop:service=NameNode,name=NameNodeInfo")
    state = hadoop_node.get_bean(address, WEB_PORT, "Hadoop:service=NameNode,name=FSNamesystemState")
    if info is None or state is None:
        return None
    return Report(
        datanodes=int(state["NumLiveDataNodes"]), safe_mode=bool(info["Safemode"]), cluster_id=str(info["ClusterId"])
    )


def wait_for_report(address: str, *, datanodes: int, timeout_s: float) -> Report | None:
    """Wait until the NameNode accepts calls and, if ``datanodes`` is not 0, can be written to.

    Returns:
        Its last report, whether it fulfils that or not; None while it does not answer.
    """
    deadline = time.monotonic() + timeout_s
    if not services.wait_for_port(address, PORT, timeout_s):
        return None

    def fit() -> bool:
        found = report(address)
        return found is not None and (datanodes == 0 or (found.datanodes > 0 and not found.safe_mode))

    services.wait_until(fit, deadline - time.monotonic())
    return report(address)


def ensure_homes(address: str, users: Sequence[str]) -> list[str]:
    """Make ``/tmp`` and the users' home directories.

    Returns:
        The users whose home directories exist.

    Raises:
        WebHdfsError: HDFS refused.
    """
    client = WebHdfs(address, WEB_PORT, user=USER)
    client.ensure_directory("/tmp", owner=USER, mode="1777")  # noqa: S108 - the file system's, not the machine's
    client.ensure_directory("/user", owner=USER, mode="755")
    for user in users:
        client.ensure_directory(f"/user/{user}", owner=user, mode="755")
    return list(users)


def smoke_test(address: str, *, replication: int, size: int = 1 << 20) -> float:
    """Write a file, read it back, compare and delete it.

    Returns:
        The time it took, s.

    Raises:
        NameNodeError: what was read differs from what was written.
        WebHdfsError: HDFS refused or failed.
    """
    client = WebHdfs(address, WEB_PORT, user=USER)
    path = f"/smoke-test-{secrets.token_hex(8)}"
    data = secrets.token_bytes(size)
    begun = time.monotonic()
    client.write(path, data, replication=replication)
    try:
        returned = client.read(path)
    finally:
        client.delete(path)
    if returned != data:
        raise NameNodeError(f"{path}: read {len(returned)} bytes that differ from the {size} bytes written")
    if client.status(path) is not None:
        raise NameNodeError(f"{path} is still there after its deletion")
    return time.monotonic() - begun


def backup(address: str, directory: Path) -> Path:
    """Save the tree of names as it is now.

    Args:
        address: of the NameNode.
        directory: where to make a new directory that can take the place of ``current`` in the name directory.

    Returns:
        The new directory.

    Raises:
        NameNodeError: it could not be saved.
    """
    before = report(address)
    if before is None:
        raise NameNodeError("the NameNode does not answer")
    if not before.safe_mode:
        _hdfs("dfsadmin", "-safemode", "enter")
    try:
        _hdfs("dfsadmin", "-saveNamespace")
    finally:
        if not before.safe_mode:
            _hdfs("dfsadmin", "-safemode", "leave")
    # The tool writes as the user hdfs; the operator's directory may be out of its reach.
    landing = hadoop_node.DATA / USER / "backup.new"
    remove(landing)
    ensure_directory(landing, owner=USER, mode=0o700)
    try:
        _hdfs("dfsadmin", "-fetchImage", str(landing))
        image = next((path for path in landing.iterdir() if re.fullmatch(r"fsimage_\d+", path.name)), None)
        if image is None or image.stat().st_size == 0:
            raise NameNodeError("the NameNode sent no image")
        return _keep(image, directory)
    except OSError as error:
        raise NameNodeError(f"{directory}: {error.strerror}") from error
    finally:
        remove(landing)


def _keep(image: Path, directory: Path) -> Path:
    """Make a directory that a NameNode can start from, of an image alone."""
    target = directory / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ensure_directory(target, mode=0o700)
    transaction = int(image.name.removeprefix("fsimage_"))
    content = image.read_bytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for name, part in (
        (image.name, content),
        (f"{image.name}.md5", f"{digest} *{image.name}\n".encode()),
        ("seen_txid", f"{transaction}\n".encode()),
        ("VERSION", (NAME_DIRECTORY / "current" / "VERSION").read_bytes()),
    ):
        ensure_file(target / name, part, mode=0o600)
    return target
