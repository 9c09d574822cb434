"""Zeppelin on this machine: its software, its configuration, its service."""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import server
from iot_charm import distribution, hadoop, services
from iot_charm.files import ensure_directory, ensure_file, remove
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.interfaces.spark import SparkService
from iot_charm.java import ensure_java
from iot_charm.users import ensure_system_user

logger = logging.getLogger(__name__)

USER = "zeppelin"
PREFIX = Path("/opt")
HOME, SPARK_HOME = PREFIX / "zeppelin", PREFIX / "spark"
LIBRARY = PREFIX / "iot-lake"
"""Holds the package iot_lake, for the notebooks."""
CONF, HADOOP_CONF, SPARK_CONF = (Path("/etc/zeppelin") / name for name in ("conf", "hadoop", "spark"))
DATA, LOGS = Path("/var/lib/zeppelin"), Path("/var/log/zeppelin")
WEB = DATA / "web"
"""Served by a server that has no web page of its own."""
PAGES = WEB / "notebooks"
"""Notebooks as HTML pages; only for who logs in."""

SERVICE = "zeppelin"
PORT = 9080
ADMIN = "admin"
PYTHON = "/usr/bin/python3"

START_TIMEOUT_S = 120

INTERPRETERS: Mapping[str, dict[str, str | bool]] = {
    "python": {"zeppelin.python": PYTHON, "zeppelin.python.useIPython": False},
}
"""What the interpreters' settings must say."""


@dataclass(frozen=True)
class Settings:
    """What Zeppelin is configured by."""

    address: str
    admin_password: str
    server_heap_mb: int
    interpreter_heap_mb: int
    driver_memory: str
    """Of notebooks' Spark applications; empty for what the Spark service says."""
    namenode: NameNode | None
    resourcemanager: ResourceManager | None
    spark: SparkService | None

    @property
    def url(self) -> str:
        """Where the server answers."""
        return url(self.address)


def url(address: str) -> str:
    """Return the server's URL."""
    return f"http://{address}:{PORT}"


def install(zeppelin: Path, spark: Path) -> None:
    """Install Java, Zeppelin, Spark, the notebooks' library and the user that runs them.

    Args:
        zeppelin: the charm's resource of that name.
        spark: likewise.

    Raises:
        DistributionError: an archive can't be used.
    """
    ensure_java()
    ensure_system_user(USER, home=DATA)
    distribution.ensure_installed(zeppelin, "zeppelin")
    distribution.ensure_installed(spark, "spark")
    ensure_directory(LIBRARY)
    _copy_sources(files("iot_lake"), LIBRARY / "iot_lake")


def forget_installation() -> None:
    """Remove what :func:`install` unpacked, so that it unpacks anew."""
    services.stop(SERVICE)
    for name in ("zeppelin", "spark"):
        link = PREFIX / name
        if link.is_symlink():
            remove(link.resolve())
        remove(link)


def has_web_page() -> bool:
    """Tell whether the installed distribution brings Zeppelin's own web page."""
    return any(HOME.glob("lib/zeppelin-web*.war")) or any(HOME.glob("zeppelin-web*.war"))


def spark_version() -> str:
    """Return the version of the installed Spark, or an empty text where there is none."""
    jars = sorted((SPARK_HOME / "jars").glob("spark-core_*.jar"))
    return jars[0].stem.rpartition("-")[2] if jars else ""


def configure(settings: Settings) -> None:
    """Write the configuration of server and interpreters."""
    ensure_directory(CONF.parent)
    ensure_directory(CONF, mode=0o750, owner=USER)
    for path in (LOGS, DATA / "notebook", DATA / "local-repo"):
        ensure_directory(path, mode=0o750, owner=USER)
    # Pages hold data: the server gives them to who logs in, and this machine's other users get nothing.
    ensure_directory(WEB, mode=0o750, group=USER)
    ensure_directory(WEB / "WEB-INF", mode=0o750, group=USER)
    ensure_directory(PAGES, mode=0o750, group=USER)
    ensure_file(WEB / "index.html", _text("index.html"), mode=0o640, group=USER)
    ensure_file(WEB / "WEB-INF" / "web.xml", _text("web.xml"), mode=0o640, group=USER)
    shiro = _text("shiro.ini").replace("{password}", settings.admin_password)
    ensure_file(CONF / "shiro.ini", shiro, mode=0o640, group=USER)
    services.ensure_unit(SERVICE, unit(settings))
    _configure_spark(settings)


def _configure_spark(settings: Settings) -> None:
    ensure_directory(SPARK_CONF)
    if settings.namenode is not None:
        hadoop.write_client_conf(
            HADOOP_CONF,
            namenode_host=settings.namenode.host,
            namenode_port=settings.namenode.port,
            replication=settings.namenode.replication,
            block_size=settings.namenode.block_size,
            resourcemanager=settings.resourcemanager,
        )
    lines = [f"{name} {value}" for name, value in sorted(spark_properties(settings).items())]
    ensure_file(SPARK_CONF / "spark-defaults.conf", "\n".join([*lines, ""]))


def spark_properties(settings: Settings) -> dict[str, str]:
    """Return what stands in ``spark-defaults.conf``: a notebook's driver runs here, whatever the mode of jobs."""
    service = settings.spark
    found = {"spark.pyspark.python": PYTHON, "spark.ui.showConsoleProgress": "false"}
    if service is None or service.execution_mode == "local":
        found["spark.master"] = "local[*]"
    else:
        found |= {"spark.master": "yarn", "spark.submit.deployMode": "client", "spark.yarn.archive": service.archive}
    if service is not None:
        found |= {
            "spark.driver.memory": settings.driver_memory or service.driver_memory,
            "spark.executor.memory": service.executor_memory,
            "spark.executor.instances": "1",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": service.event_log_dir,
            "spark.eventLog.compress": "true",
            "spark.yarn.historyServer.address": service.history_url,
        }
    return found


def unit(settings: Settings) -> str:
    """Return the server's systemd unit; its variables are also its interpreters'."""
    own_page = {} if has_web_page() else {"ZEPPELIN_WAR": str(WEB), "ZEPPELIN_ANGULAR_WAR": str(WEB)}
    return services.daemon_unit(
        "Apache Zeppelin",
        [str(HOME / "bin" / "zeppelin.sh")],
        user=USER,
        environment={
            "JAVA_HOME": str(ensure_java()),
            "PATH": f"{SPARK_HOME / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            # Times in notes have no zone.
            "TZ": "UTC",
            "MALLOC_ARENA_MAX": "2",
            "ZEPPELIN_ADDR": settings.address,
            "ZEPPELIN_PORT": str(PORT),
            "ZEPPELIN_CONF_DIR": str(CONF),
            "ZEPPELIN_LOG_DIR": str(LOGS),
            "ZEPPELIN_NOTEBOOK_DIR": str(DATA / "notebook"),
            "ZEPPELIN_NOTEBOOK_STORAGE": "org.apache.zeppelin.notebook.repo.VFSNotebookRepo",
            "ZEPPELIN_INTERPRETER_LOCALREPO": str(DATA / "local-repo"),
            "ZEPPELIN_DEP_LOCALREPO": str(DATA / "local-repo"),
            "ZEPPELIN_WAR_TEMPDIR": str(DATA / "webapps"),
            "ZEPPELIN_INTERPRETER_INCLUDES": "md,python",
            "ZEPPELIN_RUN_MODE": "local",
            "ZEPPELIN_IDENT_STRING": USER,
            "ZEPPELIN_CREDENTIALS_PERSIST": "false",
            "ZEPPELIN_MEM": f"-Xmx{settings.server_heap_mb}m",
            "ZEPPELIN_INTP_MEM": f"-Xmx{settings.interpreter_heap_mb}m",
            **own_page,
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_CONF_DIR": str(SPARK_CONF),
            "HADOOP_CONF_DIR": str(HADOOP_CONF),
            # A driver tells the executors this address, and not a name that only this machine may know.
            "SPARK_LOCAL_IP": settings.address,
            "SPARK_LOCAL_HOSTNAME": settings.address,
            "PYSPARK_PYTHON": PYTHON,
            "PYTHONPATH": f"{SPARK_HOME / 'python'}:{LIBRARY}",
        },
        directives={
            "WorkingDirectory": str(DATA),
            "UMask": "0027",
            "NoNewPrivileges": "yes",
            "PrivateTmp": "yes",
            "ProtectSystem": "full",
            # The server keeps its interpreters' settings beside what we write.
            "ReadWritePaths": str(CONF),
            "ProtectHome": "yes",
        },
    )


def ensure_running(settings: Settings, *, restart: bool) -> None:
    """Have the server running with its software and configuration, and its interpreters' settings as they must be.

    Args:
        settings: what it was configured by.
        restart: start the server anew in any case, and with it all interpreters.

    Raises:
        ZeppelinError: it does not answer in time.
    """

    def restart_interpreters() -> None:
        _wait_until_it_answers(settings)
        for name in INTERPRETERS:
            connect(settings).restart_interpreter(name)

    services.ensure_running(
        SERVICE,
        # The server keeps files of its own in its configuration's directory.
        [HOME, SPARK_HOME, LIBRARY, CONF / "shiro.ini", WEB / "WEB-INF"],
        rereads=[SPARK_CONF, HADOOP_CONF],
        reload=restart_interpreters,
        restart=restart,
    )
    _wait_until_it_answers(settings)
    connection = connect(settings)
    for name, properties in INTERPRETERS.items():
        if connection.ensure_interpreter(name, properties):
            logger.info("set up interpreter %s", name)


def _wait_until_it_answers(settings: Settings) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    services.wait_for_port(settings.address, PORT, START_TIMEOUT_S)
    while not server.answers(settings.url):
        if time.monotonic() > deadline:
            raise server.ZeppelinError(f"the server did not answer in {START_TIMEOUT_S} s; see {LOGS}")
        time.sleep(1)


def connect(settings: Settings) -> server.Server:
    """Log in as the administrator.

    Raises:
        ZeppelinError: the server does not answer.
    """
    return server.Server(settings.url, ADMIN, settings.admin_password)


def answers(address: str) -> bool:
    """Tell whether the server answers."""
    return server.answers(url(address))


def uninstall() -> None:
    """Stop the server for good and remove its configuration and data, notebooks included."""
    services.disable(SERVICE)
    for path in (CONF.parent, DATA, LOGS):
        shutil.rmtree(path, ignore_errors=True)


def _text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _copy_sources(source: Traversable, destination: Path) -> None:
    """Copy a package's sources out of the charm, whose folder changes under a running notebook."""
    ensure_directory(destination)
    for entry in source.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            _copy_sources(entry, destination / entry.name)
        elif entry.is_file() and not entry.name.endswith(".pyc"):
            ensure_file(destination / entry.name, entry.read_bytes())
