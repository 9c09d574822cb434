"""The workload module, on files made here."""

import getpass

import pytest

import server
import zeppelin
from iot_charm import services
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.interfaces.spark import SparkService
from iot_charm.testing import Systemd

NAMENODE = NameNode(
    host="192.0.2.1", port=8020, web_port=9870, datanodes=1, replication=2, block_size=1 << 27, users=[]
)
YARN = ResourceManager(
    host="192.0.2.2",
    port=8032,
    scheduler_port=8030,
    tracker_port=8031,
    web_port=8088,
    history_port=10020,
    history_web_port=19888,
)


def service(mode):
    return SparkService(
        version="4.3.0",
        execution_mode=mode,
        archive="hdfs://192.0.2.1:8020/a.zip",
        event_log_dir="hdfs://192.0.2.1:8020/logs",
        history_url="http://192.0.2.3:18080",
        driver_memory="1g",
        executor_memory="2g",
    )


def settings(**changes):
    values = {
        "address": "192.0.2.9",
        "admin_password": "p4ss",
        "server_heap_mb": 512,
        "interpreter_heap_mb": 256,
        "driver_memory": "",
        "namenode": NAMENODE,
        "resourcemanager": YARN,
        "spark": service("yarn-client"),
    }
    return zeppelin.Settings(**(values | changes))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(zeppelin, "USER", getpass.getuser())
    for name in ("HOME", "SPARK_HOME", "LIBRARY", "DATA", "LOGS"):
        monkeypatch.setattr(zeppelin, name, tmp_path / name.lower())
    for name in ("CONF", "HADOOP_CONF", "SPARK_CONF"):
        monkeypatch.setattr(zeppelin, name, tmp_path / "etc" / name.lower())
    monkeypatch.setattr(zeppelin, "WEB", tmp_path / "data" / "web")
    monkeypatch.setattr(zeppelin, "PAGES", tmp_path / "data" / "web" / "notebooks")
    monkeypatch.setattr(zeppelin, "ensure_java", lambda: tmp_path / "java")
    return Systemd.put_in_place(monkeypatch, tmp_path)


def unit():
    return services.unit_file(zeppelin.SERVICE).read_text()


def test_the_password_is_for_the_server_alone(machine):
    zeppelin.configure(settings())
    shiro = zeppelin.CONF / "shiro.ini"
    assert "admin = p4ss, admin\n" in shiro.read_text()
    assert shiro.stat().st_mode & 0o777 == 0o640
    assert "p4ss" not in unit()
    assert zeppelin.PAGES.stat().st_mode & 0o777 == 0o750


def test_interpreters_find_spark_hadoop_and_the_library(machine):
    zeppelin.configure(settings())
    text = unit()
    for variable in (
        f"SPARK_HOME={zeppelin.SPARK_HOME}",
        f"HADOOP_CONF_DIR={zeppelin.HADOOP_CONF}",
        f"PYTHONPATH={zeppelin.SPARK_HOME}/python:{zeppelin.LIBRARY}",
        "SPARK_LOCAL_HOSTNAME=192.0.2.9",
        "ZEPPELIN_ADDR=192.0.2.9",
        "ZEPPELIN_MEM=-Xmx512m",
        "ZEPPELIN_INTP_MEM=-Xmx256m",
        f"ZEPPELIN_WAR={zeppelin.WEB}",
    ):
        assert f"Environment={variable}\n" in text


def test_the_projects_own_distribution_keeps_its_web_page(machine):
    (zeppelin.HOME / "lib").mkdir(parents=True)
    assert not zeppelin.has_web_page()
    (zeppelin.HOME / "lib" / "zeppelin-web-0.12.0.war").touch()
    assert zeppelin.has_web_page()
    zeppelin.configure(settings())
    assert "ZEPPELIN_WAR=" not in unit()


@pytest.mark.parametrize("mode", ["yarn-client", "yarn-cluster"])
def test_a_notebooks_driver_is_here_whatever_the_mode_of_jobs(mode):
    found = zeppelin.spark_properties(settings(spark=service(mode)))
    assert (found["spark.master"], found["spark.submit.deployMode"]) == ("yarn", "client")
    assert found["spark.yarn.archive"] == "hdfs://192.0.2.1:8020/a.zip"
    assert (found["spark.driver.memory"], found["spark.executor.memory"]) == ("1g", "2g")


def test_without_a_cluster_spark_runs_here():
    assert zeppelin.spark_properties(settings(spark=None))["spark.master"] == "local[*]"
    found = zeppelin.spark_properties(settings(spark=service("local"), driver_memory="3g"))
    assert (found["spark.master"], found["spark.driver.memory"]) == ("local[*]", "3g")


def test_installing_copies_the_library_out_of_the_charm(machine, monkeypatch, tmp_path):
    installed = []
    monkeypatch.setattr(zeppelin, "ensure_system_user", lambda name, *, home: True)
    monkeypatch.setattr(zeppelin.distribution, "ensure_installed", lambda archive, name: not installed.append(name))
    zeppelin.install(tmp_path / "z", tmp_path / "s")
    assert installed == ["zeppelin", "spark"]
    assert (zeppelin.LIBRARY / "iot_lake" / "readings.py").is_file()
    assert (zeppelin.LIBRARY / "iot_lake" / "notebooks" / "tutorial" / "welcome.md").is_file()
    assert not list(zeppelin.LIBRARY.rglob("__pycache__"))
    assert zeppelin.spark_version() == ""
    (zeppelin.SPARK_HOME / "jars").mkdir(parents=True)
    (zeppelin.SPARK_HOME / "jars" / "spark-core_2.13-4.3.0.jar").touch()
    assert zeppelin.spark_version() == "4.3.0"


def test_reinstalling_forgets_what_was_unpacked(tmp_path, monkeypatch):
    stopped = []
    monkeypatch.setattr(zeppelin.services, "stop", stopped.append)
    monkeypatch.setattr(zeppelin, "PREFIX", tmp_path)
    (tmp_path / "zeppelin-0123").mkdir()
    (tmp_path / "zeppelin").symlink_to("zeppelin-0123")
    zeppelin.forget_installation()
    assert stopped == ["zeppelin"]
    assert list(tmp_path.iterdir()) == []


class Connection:
    """A server whose interpreters are already set up, or are not."""

    def __init__(self, *, set_up):
        self.set_up, self.restarted = set_up, []

    def ensure_interpreter(self, name, properties):
        return not self.set_up

    def restart_interpreter(self, name):
        self.restarted.append(name)


@pytest.fixture
def connection(machine, monkeypatch):
    """What is said to the server."""
    made = Connection(set_up=True)
    monkeypatch.setattr(zeppelin, "START_TIMEOUT_S", 1)
    monkeypatch.setattr(zeppelin.services, "wait_for_port", lambda *_args: True)
    monkeypatch.setattr(zeppelin, "connect", lambda _settings: made)
    monkeypatch.setattr(server, "answers", lambda url: url == "http://192.0.2.9:9080")
    return made


def run(**changes):
    wanted = settings(**changes)
    zeppelin.configure(wanted)
    zeppelin.ensure_running(wanted, restart=False)


def test_the_server_starts_anew_for_its_own_configuration_and_interpreters_for_theirs(machine, connection):
    def starts():
        return sum(call.startswith(("service_start", "service_restart")) for call in machine.calls)

    run(namenode=None, resourcemanager=None, spark=None)
    assert (starts(), connection.restarted) == (1, [])
    run()
    assert (starts(), connection.restarted) == (1, ["python"])
    assert "hdfs://192.0.2.1:8020" in (zeppelin.HADOOP_CONF / "core-site.xml").read_text()
    run()
    assert (starts(), connection.restarted) == (1, ["python"])
    run(server_heap_mb=600)
    run(server_heap_mb=600, admin_password="x")
    zeppelin.SPARK_HOME.symlink_to("spark-0123456789ab")
    run(server_heap_mb=600, admin_password="x")
    assert (starts(), connection.restarted) == (4, ["python"])
    assert zeppelin.answers("192.0.2.9")


def test_what_an_interrupted_hook_wrote_is_followed(machine, connection):
    run()
    zeppelin.configure(settings(admin_password="x"))
    run(admin_password="x")
    assert machine.calls[-1] == "service_restart zeppelin"


def test_interpreters_are_set_up(machine, connection):
    connection.set_up = False
    run()
    assert connection.restarted == []


def test_a_server_that_does_not_answer_is_an_error(connection):
    with pytest.raises(server.ZeppelinError, match="did not answer in 1 s"):
        run(address="192.0.2.8")


def test_uninstalled_nothing_stays(machine, monkeypatch):
    disabled = []
    monkeypatch.setattr(zeppelin.services, "disable", disabled.append)
    zeppelin.configure(settings())
    zeppelin.uninstall()
    assert disabled == ["zeppelin"]
    assert not zeppelin.DATA.exists()
    assert not zeppelin.CONF.parent.exists()
