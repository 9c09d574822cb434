"""The modules that do the work, on files, programs and servers made here."""

import http.server
import json
import threading
import zipfile

import pytest

import history
import memory
import share
import spark
import submit
from iot_charm import services
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.testing import Systemd

NAMENODE = NameNode(
    host="192.0.2.1", port=8020, web_port=9870, datanodes=1, replication=2, block_size=1 << 27, users=[]
)


def resourcemanager(port: int) -> ResourceManager:
    return ResourceManager(
        host="127.0.0.1",
        port=8032,
        scheduler_port=8030,
        tracker_port=8031,
        web_port=port,
        history_port=10020,
        history_web_port=19888,
    )


def settings(mode: str) -> spark.Settings:
    return spark.Settings(
        address="192.0.2.9",
        execution_mode=mode,
        driver_memory="1g",
        executor_memory="2g",
        executor_instances=3,
        archive="hdfs://192.0.2.1:8020/a.zip",
        event_log_dir="hdfs://192.0.2.1:8020/logs",
        namenode=NAMENODE,
        resourcemanager=None,
    )


# Memory


@pytest.mark.parametrize("text", ["512m", "1g", "1024g", "1%", "100%"])
def test_amounts_that_are_fine(text):
    assert memory.check(text) == text


@pytest.mark.parametrize("text", ["511m", "0g", "1025g", "0%", "101%", "1G", "1", "", "-1g", "1.5g"])
def test_amounts_that_are_not(text):
    with pytest.raises(ValueError, match="must be a number"):
        memory.check(text)


def test_a_percentage_is_one_of_what_the_machine_has(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       8388608 kB\nMemFree: 1 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    assert memory.amount("25%") == "2048m"
    assert memory.amount("1%") == "512m"
    assert memory.amount("3g") == "3g"


# Configuration


@pytest.mark.parametrize(("mode", "deploy"), [("yarn-client", "client"), ("yarn-cluster", "cluster")])
def test_on_yarn_the_archive_is_used(mode, deploy):
    found = spark.properties(settings(mode))
    assert (found["spark.master"], found["spark.submit.deployMode"]) == ("yarn", deploy)
    assert found["spark.yarn.archive"] == "hdfs://192.0.2.1:8020/a.zip"
    assert found["spark.executor.instances"] == 3


def test_local_mode_names_no_cluster():
    found = spark.properties(settings("local"))
    assert found["spark.master"] == "local[*]"
    assert not [name for name in found if name.startswith("spark.yarn")]


# The share in HDFS


class MemoryHdfs:
    """What the charm uses of :class:`iot_charm.webhdfs.WebHdfs`, in memory."""

    def __init__(self):
        self.files, self.folders, self.acls = {}, {}, {}

    def status(self, path):
        return object() if path in self.files or path in self.folders else None

    def ensure_directory(self, path, *, owner, mode):
        made = path not in self.folders
        self.folders[path] = (owner, mode)
        return made

    def set_acl(self, path, entries):
        self.acls[path] = entries

    def upload(self, source, path, *, replication):
        self.files[path] = (source.read_bytes(), replication)

    def names(self, folder):
        return [path.rpartition("/")[2] for path in self.files if path.rpartition("/")[0] == folder]

    def delete(self, path):
        del self.files[path]


def test_the_archive_is_written_once_and_replaces_an_older_one(tmp_path, monkeypatch):
    hdfs = MemoryHdfs()
    monkeypatch.setattr(share, "WebHdfs", lambda *_args, **_kwargs: hdfs)
    jars, scratch = tmp_path / "jars", tmp_path / "scratch"
    for folder in (jars, scratch):
        folder.mkdir()
    (jars / "b.jar").write_bytes(b"b")
    (jars / "a.jar").write_bytes(b"a")
    (jars / "notes.txt").write_text("no jar")
    hdfs.files[f"{share.SHARE}/keep.txt"] = b"mine"
    first = share.Share(NAMENODE, "4.3.0", "aaa")
    assert not first.is_complete()
    assert first.ensure(jars, scratch)
    assert first.is_complete()
    assert not first.ensure(jars, scratch)
    content, replication = hdfs.files[first.archive.removeprefix(NAMENODE.uri)]
    assert replication == 2
    (tmp_path / "x.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == ["a.jar", "b.jar"]
    assert hdfs.folders[share.EVENT_LOGS] == ("spark", "1777")
    assert "default:user:spark:rwx" in hdfs.acls[share.EVENT_LOGS]
    second = share.Share(NAMENODE, "4.3.0", "bbb")
    assert second.ensure(jars, scratch)
    assert sorted(hdfs.names(share.SHARE)) == ["keep.txt", "spark-4.3.0-bbb-jars.zip"]
    assert list(scratch.iterdir()) == []


# spark-submit


@pytest.fixture
def spark_submit(tmp_path, monkeypatch, me):
    """Return a function that makes spark-submit a script."""
    monkeypatch.setattr(spark, "HOME", tmp_path)
    monkeypatch.setattr(spark, "DATA", tmp_path)
    monkeypatch.setattr(spark, "environment", lambda address: {"SPARK_LOCAL_IP": address})
    (tmp_path / "bin").mkdir()

    def write(script):
        path = tmp_path / "bin" / "spark-submit"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


REPORT = 'echo "INFO Client: Application report for application_17_0001 (state: %s)" >&2\n'


def run(*words, timeout_s=20, rm=None):
    told = []
    found = submit.submit(words, address="127.0.0.9", timeout_s=timeout_s, progress=told.append, resourcemanager=rm)
    return found, told


def test_a_job_is_followed_to_its_end(spark_submit):
    states = "".join(REPORT % state for state in ("ACCEPTED", "ACCEPTED", "RUNNING", "FINISHED"))
    spark_submit(f'{states}echo "$SPARK_LOCAL_IP $*"')
    found, told = run("--conf", "a=b", "job.py")
    assert found.application == "application_17_0001"
    assert found.output == "127.0.0.9 --conf a=b job.py\n"
    assert told == [f"application_17_0001 is {state}" for state in ("ACCEPTED", "RUNNING", "FINISHED")]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            ["INFO x", "java.io.IOException: broken", "26/11/24 INFO Handler: Exception is handled"],
            "java.io.IOException",
        ),
        (["Traceback:", "  File x", "ValueError: bad", "26/11/24 INFO C: bye"], "ValueError: bad"),
        (["26/11/24 ERROR Client: refused", "26/11/24 INFO C: bye"], "26/11/24 ERROR Client: refused"),
        (["no such option", "26/11/24 INFO C: bye"], "no such option"),
    ],
)
def test_a_failed_job_names_its_reason(spark_submit, log, reason):
    spark_submit("echo out; " + "; ".join(f'echo "{line}" >&2' for line in log) + "; exit 3")
    with pytest.raises(submit.SubmitError, match=rf"exit code 3\): {reason}") as caught:
        run("job.py")
    assert caught.value.run.output == "out\n"


def test_a_silent_failure_says_so(spark_submit):
    spark_submit("exit 1")
    with pytest.raises(submit.SubmitError, match="it wrote nothing"):
        run("job.py")


def test_a_job_that_takes_too_long_is_killed_on_yarn_too(spark_submit, monkeypatch):
    killed = []
    monkeypatch.setattr(history, "kill", lambda _rm, application: killed.append(application))
    spark_submit(REPORT % "RUNNING" + "exec sleep 60")
    with pytest.raises(submit.SubmitError, match="did not end within 1 s"):
        run("job.py", timeout_s=1, rm=resourcemanager(1))
    assert killed == ["application_17_0001"]


def test_the_result_of_pi_comes_through_hdfs(spark_submit, monkeypatch):
    hdfs = {}

    class Client:
        def __init__(self, *_args, **_kwargs): ...

        def names(self, folder):
            return ["_SUCCESS", "part-00000"]

        def read(self, path):
            hdfs["read"] = path
            return json.dumps({"pi": 3.14, "application": "application_1_7"}).encode() + b"\n"

        def delete(self, path, *, recursive):
            hdfs["deleted"] = path

    monkeypatch.setattr(submit, "WebHdfs", Client)
    spark_submit('echo "$*"')
    value, found = submit.pi(4, address="a", namenode=NAMENODE, progress=print, resourcemanager=None)
    assert (value, found.application) == (3.14, "application_1_7")
    job, partitions, output = found.output.split()
    assert (job, partitions) == (str(spark.PI_JOB), "4")
    assert output == f"hdfs://192.0.2.1:8020{hdfs['deleted']}"
    assert hdfs["read"] == f"{hdfs['deleted']}/part-00000"


# What YARN and the history server know


@pytest.fixture
def web(monkeypatch):
    """A web server that answers what its dictionary holds, and remembers what was put to it."""
    answers, put = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers.get(self.path.partition("?")[0])
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_PUT(self):
            put.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(202 if "good" in self.path else 403)
            self.end_headers()

        def log_message(self, *_args): ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.answers, server.put = answers, put
    monkeypatch.setattr(spark, "HISTORY_PORT", server.server_port)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


HISTORY = "/api/v1/applications"
YARN = "/ws/v1/cluster/apps"


def test_jobs_of_both_are_one_list(web):
    attempt = {"completed": True, "sparkUser": "zeppelin", "startTimeEpoch": 1000, "endTimeEpoch": 3500}
    web.answers[HISTORY] = [
        {"id": "application_1_1", "name": "old", "attempts": [attempt]},
        {"id": "application_1_2", "name": "known to both", "attempts": [attempt | {"completed": False}]},
    ]
    app = {"user": "spark", "startedTime": 9000, "elapsedTime": 500, "name": "new", "finalStatus": "UNDEFINED"}
    web.answers[YARN] = {
        "apps": {
            "app": [
                app | {"id": "application_1_2", "state": "RUNNING"},
                app | {"id": "application_1_3", "state": "FINISHED", "finalStatus": "FAILED", "startedTime": 0},
            ]
        }
    }
    found = history.jobs("127.0.0.1", resourcemanager(web.server_port), 10)
    assert [(job.identifier, job.state, job.seconds) for job in found] == [
        ("application_1_2", "RUNNING", 0.5),
        ("application_1_1", "COMPLETED", 2.5),
        ("application_1_3", "FAILED", 0.5),
    ]
    assert len(history.jobs("127.0.0.1", resourcemanager(web.server_port), 1)) == 1


def test_no_jobs_at_all(web):
    web.answers[HISTORY] = []
    web.answers[YARN] = {"apps": None}
    assert history.jobs("127.0.0.1", resourcemanager(web.server_port), 10) == []


def test_one_that_does_not_answer_does_not_hide_the_other(web):
    web.answers[YARN] = {"apps": {"app": []}}
    with pytest.raises(history.HistoryError, match="the history server does not answer"):
        history.jobs("127.0.0.1", resourcemanager(web.server_port), 10)
    del web.answers[YARN]
    with pytest.raises(history.HistoryError, match="YARN does not answer"):
        history.jobs("127.0.0.1", resourcemanager(web.server_port), 10)


def test_answers(web):
    assert not history.answers("127.0.0.1")
    web.answers[HISTORY] = []
    assert history.answers("127.0.0.1")


def test_kill(web):
    history.kill(resourcemanager(web.server_port), "good")
    assert web.put == [(f"{YARN}/good/state?user.name=spark", {"state": "KILLED"})]
    with pytest.raises(history.HistoryError, match="can't kill bad"):
        history.kill(resourcemanager(web.server_port), "bad")


# The machine


def test_the_machine_gets_software_configuration_and_a_shell(tmp_path, monkeypatch, me):
    called = {}
    monkeypatch.setattr(spark, "ensure_java", lambda: tmp_path / "java")
    monkeypatch.setattr(spark, "ensure_system_user", lambda name, *, home: called.setdefault("user", (name, home)))
    monkeypatch.setattr(spark.distribution, "ensure_installed", lambda archive, name: called.setdefault("new", True))
    for name in ("HOME", "DATA", "CONF", "HADOOP_CONF"):
        monkeypatch.setattr(spark, name, tmp_path / "etc" / name.lower())
    monkeypatch.setattr(spark, "PI_JOB", tmp_path / "jobs" / "pi.py")
    monkeypatch.setattr(spark, "PROFILE", tmp_path / "spark.sh")
    spark.install(tmp_path / "spark.tgz")
    assert called["user"][0] == me
    assert "saveAsTextFile" in (tmp_path / "jobs" / "pi.py").read_text()
    assert spark.version() == ""
    (spark.HOME / "jars").mkdir(parents=True)
    (spark.HOME / "jars" / "spark-core_2.13-4.3.0.jar").touch()
    assert spark.version() == "4.3.0"
    spark.configure(settings("local"))
    assert "spark.master local[*]\n" in (spark.CONF / "spark-defaults.conf").read_text()
    assert "hdfs://192.0.2.1:8020" in (spark.HADOOP_CONF / "core-site.xml").read_text()
    assert 'export SPARK_LOCAL_IP="192.0.2.9"' in (tmp_path / "spark.sh").read_text()
    spark.uninstall()
    assert not spark.CONF.exists()
    assert not (tmp_path / "spark.sh").exists()


def test_an_installation_is_told_by_its_digest(tmp_path, monkeypatch):
    (tmp_path / "spark-0123456789ab").mkdir()
    (tmp_path / "spark").symlink_to("spark-0123456789ab")
    monkeypatch.setattr(spark, "HOME", tmp_path / "spark")
    assert spark.build() == "0123456789ab"


@pytest.fixture
def systemd(tmp_path, monkeypatch, me):
    """What runs the history server, and whose configuration it has."""
    monkeypatch.setattr(history, "STOPPED", tmp_path / "stopped")
    monkeypatch.setattr(spark, "environment", lambda address: {"SPARK_LOCAL_IP": address})
    monkeypatch.setattr(history, "ensure_file", lambda path, content: path.touch())
    for name in ("HOME", "CONF", "HADOOP_CONF"):
        monkeypatch.setattr(spark, name, tmp_path / name.lower())
    return Systemd.put_in_place(monkeypatch, tmp_path)


def test_the_history_server_runs_unless_an_operator_stopped_it(systemd):
    assert history.ensure_running("192.0.2.9", heap_mb=300, restart=False)
    unit = services.unit_file(history.SERVICE).read_text()
    assert "SPARK_DAEMON_MEMORY=300m" in unit
    assert "spark-class org.apache.spark.deploy.history.HistoryServer" in unit
    history.stop()
    assert history.is_stopped()
    assert not history.ensure_running("192.0.2.9", heap_mb=300, restart=True)
    history.allow_start()
    assert history.ensure_running("192.0.2.9", heap_mb=300, restart=True)
    history.uninstall()
    assert not systemd.running


def test_the_history_server_follows_what_an_interrupted_hook_wrote(systemd):
    def run():
        return history.ensure_running("192.0.2.9", heap_mb=300, restart=False)

    run()
    assert not run()
    spark.CONF.mkdir()
    (spark.CONF / "spark-defaults.conf").write_text("spark.history.ui.port 18080\n")
    assert run()
    spark.HOME.symlink_to("spark-0123456789ab")
    assert run()
    assert not run()


def test_waiting_for_the_history_server_ends_when_it_answers(web, monkeypatch):
    monkeypatch.setattr(history, "START_TIMEOUT_S", 1)
    assert not history.wait("127.0.0.1")
    web.answers[HISTORY] = []
    assert history.wait("127.0.0.1")
