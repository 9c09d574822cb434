"""A real Zeppelin server from the built resource, set up and driven by the charm's own modules.

Needs Java 17; the resources zeppelin and spark are built if they are not in the cache.
"""

import getpass
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from daemons import free_port

from iot_charm.java import JVM_DIRECTORY

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY / "charms" / "zeppelin" / "src"))
try:
    import notebooks
    import server
    import zeppelin
finally:
    sys.path.pop(0)

PASSWORD = "correct horse"


def unpack(name: str, destination: Path) -> None:
    build = [sys.executable, REPOSITORY / "resources" / "build.py", name]
    archive = subprocess.run(build, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    destination.mkdir()
    subprocess.run(["tar", "-xzf", archive, "--strip-components=1", "-C", destination], check=True)


@pytest.fixture(scope="module")
def settings():
    return zeppelin.Settings(
        address="127.0.0.1",
        admin_password=PASSWORD,
        server_heap_mb=512,
        interpreter_heap_mb=256,
        driver_memory="",
        namenode=None,
        resourcemanager=None,
        spark=None,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory, settings):
    """Run the unit that the charm writes, as a child of the tests."""
    root = tmp_path_factory.mktemp("zeppelin")
    (java,) = sorted(JVM_DIRECTORY.glob("java-17-openjdk-*"))[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zeppelin, "USER", getpass.getuser())
        patch.setattr(notebooks, "USER", getpass.getuser())
        patch.setattr(zeppelin, "PORT", free_port())
        patch.setattr(zeppelin, "ensure_java", lambda: java)
        for name in ("HOME", "SPARK_HOME", "LIBRARY", "DATA", "LOGS"):
            patch.setattr(zeppelin, name, root / name.lower())
        for name in ("CONF", "HADOOP_CONF", "SPARK_CONF"):
            patch.setattr(zeppelin, name, root / "etc" / name.lower())
        patch.setattr(zeppelin, "WEB", root / "data" / "web")
        pages = root / "data" / "web" / "notebooks"
        patch.setattr(zeppelin, "PAGES", pages)
        patch.setattr(notebooks, "PAGES", pages)
        patch.setattr(notebooks, "BROUGHT", root / "brought.json")
        unpack("zeppelin", zeppelin.HOME)
        unpack("spark", zeppelin.SPARK_HOME)
        shutil.copytree(REPOSITORY / "src" / "iot-lake" / "iot_lake", zeppelin.LIBRARY / "iot_lake")
        units: list[str] = []
        patch.setattr(zeppelin.services, "ensure_unit", lambda name, text: not units.append(text))
        zeppelin.configure(settings)
        (command,) = re.findall(r"^ExecStart=(.*)$", units[0], re.MULTILINE)
        environment = dict(
            shlex.split(value)[0].split("=", 1) for value in re.findall(r"^Environment=(.*)$", units[0], re.MULTILINE)
        )
        with (root / "server.log").open("w") as log:
            process = subprocess.Popen(
                shlex.split(command),
                env={"HOME": os.environ["HOME"], **environment},
                cwd=zeppelin.DATA,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        patch.setattr(zeppelin.services, "ensure_running", lambda *_, **__: False)
        try:
            zeppelin.ensure_running(settings, restart=False)
            yield
        finally:
            process.terminate()
            process.wait(60)
            for name in ("home", "spark_home"):
                shutil.rmtree(root / name)


@pytest.fixture
def connection(running, settings):
    found = zeppelin.connect(settings)
    yield found
    found.close()


@pytest.mark.timeout(300)
def test_markdown_and_python_run_with_pyspark_at_hand(connection):
    assert re.fullmatch(r"Python 3\.\d+\.\d+, PySpark 4\.3\.0", notebooks.smoke_test(connection))
    assert connection.notes() == {}


def test_nobody_gets_in_without_the_password(running, settings):
    with pytest.raises(server.ZeppelinError, match="HTTP 403"):
        server.Server(settings.url, "admin", "wrong")
    assert requests.get(f"{settings.url}/api/notebook", allow_redirects=False, timeout=30).status_code == 302
    assert requests.get(f"{settings.url}/api/version", timeout=30).json()["body"]["version"] == "0.10.0"


@pytest.mark.timeout(300)
def test_forms_reach_paragraphs_and_the_run_becomes_a_guarded_page(connection, settings):
    source = {
        "name": "folder/A note",
        "paragraphs": [
            {"title": "text", "text": "%md\n## Hello"},
            {
                "title": "form",
                "text": "%python\nnode = z.input('node', 'none')\nprint('%table\\na\\tb\\n' + node + '\\t1')",
            },
        ],
    }
    assert notebooks.bring(connection, [source]) == ["folder/A note"]
    assert notebooks.bring(connection, [source]) == []
    told: list[str] = []
    outcome = notebooks.run(connection, "folder/A note", {"node": "n'\"1"}, timeout_s=200, progress=told.append)
    assert outcome.problem == ""
    assert [paragraph.status for paragraph in outcome.paragraphs] == ["FINISHED", "FINISHED"]
    text = outcome.html.read_text()
    assert "<h2>Hello</h2>" in text
    assert "<td>n&#x27;&quot;1</td>" in text
    url = f"{settings.url}/notebooks/{outcome.html.name}"
    assert requests.get(url, timeout=30).status_code == 401
    assert requests.get(url, auth=("admin", "wrong"), timeout=30).status_code == 401
    assert requests.get(url, auth=("admin", PASSWORD), timeout=30).text == text


@pytest.mark.timeout(300)
def test_a_failing_paragraph_stops_the_run_and_says_why(connection):
    source = {
        "name": "failing",
        "paragraphs": [
            {"title": "bad", "text": "%python\nraise ValueError('too hot')"},
            {"title": "never", "text": "%md\nx"},
        ],
    }
    notebooks.bring(connection, [source])
    outcome = notebooks.run(connection, "failing", {}, timeout_s=200, progress=lambda _: None)
    assert outcome.problem == "paragraph 1 (bad) ended ERROR: ValueError: too hot"
    assert len(outcome.paragraphs) == 1


@pytest.mark.timeout(300)
def test_a_paragraph_that_takes_too_long_is_stopped(connection):
    source = {"name": "slow", "paragraphs": [{"title": "slow", "text": "%python\nimport time\ntime.sleep(600)"}]}
    notebooks.bring(connection, [source])
    outcome = notebooks.run(connection, "slow", {}, timeout_s=15, progress=lambda _: None)
    assert "did not end within 15 s and was stopped" in outcome.problem


def test_an_edited_note_is_left_alone(connection):
    first = {"name": "mine", "paragraphs": [{"title": "t", "text": "%md\none"}]}
    second = {"name": "mine", "paragraphs": [{"title": "t", "text": "%md\ntwo"}]}
    edited = {"name": "mine", "paragraphs": [{"title": "t", "text": "%md\nmy own words"}]}
    assert notebooks.bring(connection, [first]) == ["mine"]
    assert notebooks.bring(connection, [second]) == ["mine"]
    connection.delete(connection.notes()["mine"])
    identifier = connection.import_note(edited)
    assert notebooks.bring(connection, [first]) == []
    assert connection.notes()["mine"] == identifier
