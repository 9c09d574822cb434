"""What Spark keeps in HDFS: its jars in one archive, and the event logs."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from iot_charm import progress
from iot_charm.interfaces.dfs import NameNode
from iot_charm.webhdfs import WebHdfs

USER = "spark"
SHARE = f"/user/{USER}/share"
EVENT_LOGS = f"/user/{USER}/applicationHistory"

EVENT_LOGS_ACL = (
    "user::rwx,group::rwx,other::rwx,"
    f"default:user::rwx,default:user:{USER}:rwx,default:group::r-x,default:mask::rwx,default:other::---"
)
"""Every user's applications log here, others can't read the logs, and the history server can."""


@dataclass(frozen=True)
class Share:
    """Spark's part of a file system.

    Args:
        namenode: as the relation gave it.
        version: of Spark.
        build: what tells this installation of that version from another.
    """

    namenode: NameNode
    version: str
    build: str

    @property
    def _archive_path(self) -> str:
        return f"{SHARE}/spark-{self.version}-{self.build}-jars.zip"

    @property
    def archive(self) -> str:
        """Full URI of the zip of Spark's jars."""
        return f"{self.namenode.uri}{self._archive_path}"

    @property
    def event_log_dir(self) -> str:
        """Full URI."""
        return f"{self.namenode.uri}{EVENT_LOGS}"

    def is_complete(self) -> bool:
        """Tell whether the archive and the event logs' directory are there.

        Raises:
            WebHdfsError: HDFS does not answer.
        """
        client = self._client()
        return client.status(self._archive_path) is not None and client.status(EVENT_LOGS) is not None

    def ensure(self, jars: Path, scratch: Path) -> bool:
        """Put into HDFS what is missing there; archives of other installations are removed.

        Args:
            jars: folder of Spark's jars.
            scratch: a folder with room for all of them.

        Returns:
            Whether the archive was written.

        Raises:
            WebHdfsError: HDFS refused or failed.
        """
        client = self._client()
        client.ensure_directory(SHARE, owner=USER, mode="755")
        if client.ensure_directory(EVENT_LOGS, owner=USER, mode="1777"):
            client.set_acl(EVENT_LOGS, EVENT_LOGS_ACL)
        name = self._archive_path.rpartition("/")[2]
        if client.status(self._archive_path) is not None:
            return False
        packed = scratch / name
        progress.announce("Putting Spark's jars into HDFS")
        try:
            pack(jars, packed)
            client.upload(packed, self._archive_path, replication=self.namenode.replication)
        finally:
            packed.unlink(missing_ok=True)
        for other in client.names(SHARE):
            if other.startswith("spark-") and ".zip" in other and other != name:
                client.delete(f"{SHARE}/{other}")
        return True

    def _client(self) -> WebHdfs:
        return WebHdfs(self.namenode.host, self.namenode.web_port, user=USER, timeout_s=300)


def pack(jars: Path, destination: Path) -> None:
    """Pack the jars, as they are, at the root of a zip file."""
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as archive:
        for jar in sorted(jars.glob("*.jar")):
            archive.write(jar, jar.name)
