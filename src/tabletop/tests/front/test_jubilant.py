"""jubilant, a client written by others, drives the command line: each verb reaches the daemon as it was meant."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jubilant
import pytest

from tabletop.version import host_architecture

sys.path.insert(0, str(Path(__file__).parent))

from in_process import BINARY, InProcess

TASK = {
    "id": "7",
    "unit": "store/0",
    "action": "smoke-test",
    "status": "completed",
    "message": "",
    "results": {"return-code": 0, "seed": "corn"},
    "log": ["2026-11-24T07:48:29Z line 0"],
    "timing": {"enqueued": "2026-11-24T07:48:29Z"},
}


@pytest.fixture
def juju(daemon) -> jubilant.Juju:
    return InProcess(model="m")


def test_a_process_of_its_own(daemon, status):
    daemon.answers["status"] = status
    juju = jubilant.Juju(model="iot", cli_binary=BINARY)
    assert juju.status().apps["store"].is_active
    assert daemon.asked("status") == [{"model": "iot"}]
    assert juju.version().tuple >= (3, 6, 0)
    with pytest.raises(jubilant.CLIError) as error:
        juju.cli("statsu")
    assert error.value.returncode == 2


def test_version(juju):
    version = juju.version()
    assert version.release == "tabletop"
    assert version.arch == host_architecture()


def test_models(juju, daemon, home, status):
    daemon.answers["models"] = [{"name": "m", "uuid": "u-1"}, {"name": "other", "uuid": "u-2"}]
    daemon.answers["secrets"] = {"abc": {}}
    daemon.answers["status"] = status
    juju.add_model("new", config={"update-status-hook-interval": "1m"})
    assert juju.model == "new"
    assert daemon.asked("add_model") == [{"name": "new"}]
    assert daemon.asked("model_config") == [{"model": "new", "values": {"update-status-hook-interval": "1m"}}]
    assert not (home / "state/current-model").exists()
    info = juju.show_model("admin/other")
    assert (info.short_name, info.model_uuid, info.controller_name) == ("other", "u-2", "tabletop")
    assert set(info.machines) == {"2", "10"}
    juju.destroy_model("tabletop:new", destroy_storage=True, force=True, timeout=3)
    assert daemon.asked("destroy_model") == [{"name": "new"}]


def test_another_controller_is_refused(juju):
    with pytest.raises(jubilant.CLIError) as error:
        InProcess(model="ctl:m").status()
    assert "controller ctl not found" in error.value.stderr


def test_model_constraints(juju, daemon):
    daemon.answers["model_constraints"] = {"arch": "arm64"}
    juju.model_constraints({"arch": "arm64"})
    assert juju.model_constraints() == {"arch": "arm64"}
    assert daemon.asked("model_constraints") == [{"model": "m", "values": {"arch": "arm64"}}, {"model": "m"}]
    juju.model_constraints({"mem": "4G", "tags": "x"})
    assert daemon.asked("model_constraints")[-1]["values"] == {"mem": "4G", "tags": "x"}


def test_model_config(juju, daemon):
    daemon.answers["model_config"] = {"update-status-hook-interval": {"Value": "5m", "Source": "default"}}
    assert juju.model_config() == {"update-status-hook-interval": "5m"}
    juju.model_config({"update-status-hook-interval": "10m"}, reset=["a", "b"])
    assert daemon.asked("model_config")[-1] == {
        "model": "m",
        "values": {"update-status-hook-interval": "10m"},
        "reset": ["a", "b"],
    }


def test_deploy_of_a_packed_charm(juju, daemon, packed, tmp_path):
    seed = tmp_path / "seed"
    seed.write_text("corn")
    charm = packed("store")
    juju.deploy(
        charm,
        "shop",
        config={"colour": "blue", "loud": True, "size": 3},
        constraints={"mem": "8G", "cores": 4},
        num_units=2,
        resources={"seed": str(seed)},
        to=["0", "lxd:1"],
        trust=True,
        base="ubuntu@24.04",
        channel="latest/edge",
        force=True,
        storage={"data": "1G"},
        attach_storage=["data/0", "data/1"],
        bind="alpha",
        revision=3,
    )
    (asked,) = daemon.asked("deploy")
    assert asked == {
        "model": "m",
        "charm": str(charm),
        "app": "shop",
        "num_units": 2,
        "config": {"colour": "blue", "loud": "true", "size": "3"},
        "resources": {"seed": str(seed)},
        "to": ["0", "lxd:1"],
        "constraints": {"mem": "8G", "cores": "4"},
        "trust": True,
        "storage": {"data": "1G"},
        "attach": ["data/0", "data/1"],
    }


def test_deploy_of_a_charms_folder_packs_it_first(juju, daemon, tmp_path, home):
    folder = tmp_path / "mine"
    (folder / "src").mkdir(parents=True)
    (folder / "src/charm.py").write_text("")
    text = "name: mine\nparts:\n  charm: {plugin: python, source: .}\n"
    (folder / "charmcraft.yaml").write_text(text)
    juju.deploy(folder)
    charm = Path(daemon.asked("deploy")[0]["charm"])
    assert charm == home / "cache/charms/mine/mine.charm"
    assert charm.is_file()
    juju.refresh("mine", path=folder, resources={"a": str(folder / "charmcraft.yaml")}, config={"x": 1}, force=True)
    (asked,) = daemon.asked("refresh")
    assert asked == {
        "model": "m",
        "app": "mine",
        "charm": str(charm),
        "resources": {"a": str(folder / "charmcraft.yaml")},
        "config": {"x": "1"},
        "trust": False,
    }


def test_a_subordinate_gets_no_units(juju, daemon, packed):
    juju.deploy(packed("agent", subordinate=True))
    assert daemon.asked("deploy")[0]["num_units"] == 0


def test_deploy_of_a_bundle_with_an_overlay(juju, daemon, packed, tmp_path):
    packed("store", provides={"data": "x"})
    packed("web", requires={"data": "x"})
    (tmp_path / "bundle.yaml").write_text(
        "applications: {store: {charm: ./store.charm, num_units: 1}, web: {charm: ./web.charm}}\n"
        "relations: [[store, web]]\n"
    )
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("applications: {web: {num_units: 3}}\n")
    daemon.answers["status"] = {"applications": {}}
    juju.deploy(tmp_path / "bundle.yaml", overlays=[overlay])
    assert [asked["num_units"] for asked in daemon.asked("deploy")] == [1, 3]
    assert daemon.asked("integrate") == [{"model": "m", "a": "store:data", "b": "web:data"}]
    with pytest.raises(jubilant.CLIError) as error:
        juju.deploy(tmp_path, num_units=3)
    assert error.value.returncode == 2


def test_a_wrong_bundle_deploys_nothing(juju, daemon, tmp_path):
    (tmp_path / "bundle.yaml").write_text("applications: {a: {charm: ./a.charm}}\n")
    with pytest.raises(jubilant.CLIError) as error:
        juju.deploy(tmp_path / "bundle.yaml")
    assert "bundle.yaml:1: charm './a.charm' of application 'a': no such file" in error.value.stderr
    assert daemon.calls == []


def test_applications(juju, daemon):
    juju.integrate("a:x", "b")
    juju.remove_relation("a:x", "b:y", force=True)
    juju.add_unit("a", num_units=2, to=["0", "new"], attach_storage="data/0")
    juju.remove_unit("a/0", "a/1", force=True)
    juju.remove_application("a", "b", destroy_storage=True)
    juju.trust("a", remove=True)
    juju.cli("resolved", "a/0")
    assert daemon.calls == [
        ("integrate", {"model": "m", "a": "a:x", "b": "b"}),
        ("remove_relation", {"model": "m", "a": "a:x", "b": "b:y"}),
        ("add_unit", {"model": "m", "app": "a", "num_units": 2, "to": ["0", "new"], "attach": ["data/0"]}),
        ("remove_unit", {"model": "m", "unit": "a/0", "force": True, "destroy_storage": False}),
        ("remove_unit", {"model": "m", "unit": "a/1", "force": True, "destroy_storage": False}),
        ("remove_application", {"model": "m", "app": "a", "force": False, "destroy_storage": True}),
        ("remove_application", {"model": "m", "app": "b", "force": False, "destroy_storage": True}),
        ("trust", {"model": "m", "app": "a", "trust": False}),
        ("resolved", {"model": "m", "unit": "a/0", "no_retry": False}),
    ]


def test_config(juju, daemon):
    daemon.answers["get_config"] = {
        "application": "store",
        "settings": {
            "colour": {"type": "string", "value": "blue", "source": "user"},
            "key": {"type": "secret", "value": "secret:abc"},
            "unset": {"type": "string"},
        },
        "application-config": {"trust": {"type": "bool", "value": False}},
    }
    assert juju.config("store") == {"colour": "blue", "key": "secret:abc"}
    assert juju.config("store", app_config=True) == {"trust": False}
    juju.config("store", {"colour": "red", "loud": True}, reset=["size", "key"])
    juju.config("store", reset="size")
    assert daemon.asked("set_config") == [
        {"model": "m", "app": "store", "values": {"colour": "red", "loud": "true"}, "reset": ["size", "key"]},
        {"model": "m", "app": "store", "values": {}, "reset": ["size"]},
    ]


def test_run(juju, daemon):
    daemon.answers["run_action"] = {"tasks": {"store/0": "7"}}
    daemon.answers["wait_task"] = TASK
    daemon.progress["wait_task"] = TASK["log"]
    task = juju.run("store/0", "smoke-test", {"lines": 3, "deep": {"a": [1]}}, wait=20)
    assert task.success
    assert task.results == {"seed": "corn"}
    assert task.log == TASK["log"]
    assert daemon.asked("run_action") == [
        {"model": "m", "units": ["store/0"], "action": "smoke-test", "params": {"lines": 3, "deep": {"a": [1]}}}
    ]
    (waited,) = daemon.asked("wait_task")
    assert waited["id"] == "7"
    assert 19 < waited["timeout"] <= 20


def test_a_task_that_fails(juju, daemon):
    daemon.answers["run_action"] = {"tasks": {"store/0": "7"}}
    daemon.answers["wait_task"] = {**TASK, "status": "failed", "message": "because"}
    with pytest.raises(jubilant.TaskError) as error:
        juju.run("store/leader", "smoke-test")
    assert error.value.task.message == "because"
    assert error.value.task.results == {"seed": "corn"}


def test_an_action_that_isnt_there(juju, daemon, refusal):
    daemon.answers["run_action"] = refusal('action "nope" not defined', "not-found")
    with pytest.raises(ValueError, match="nope"):
        juju.run("store/0", "nope")


def test_parameters_that_are_refused(juju, daemon, refusal):
    daemon.answers["run_action"] = refusal("count: -1 is less than 0")
    # Juju, too, has an operation without tasks then, and exit status 0.
    with pytest.raises(ValueError, match=r"failed to schedule any tasks:\ncount: -1 is less than 0"):
        juju.run("store/0", "smoke-test", {"count": -1})


def test_a_task_that_takes_too_long(juju, daemon):
    daemon.answers["run_action"] = {"tasks": {"store/0": "7"}}
    daemon.answers["wait_task"] = {**TASK, "status": "running"}
    with pytest.raises(TimeoutError):
        juju.run("store/0", "smoke-test", wait=0.1)


def test_exec(juju, daemon):
    daemon.answers["exec"] = {"id": "9", "unit": "store/0", "stdout": "hello\n", "stderr": "", "return-code": 0}
    task = juju.exec("echo hello; exit", unit="store/0", wait=5)
    assert (task.id, task.stdout, task.return_code) == ("9", "hello\n", 0)
    juju.exec("echo", "two words", machine=0)
    assert daemon.asked("exec") == [
        {"model": "m", "target": "store/0", "argv": ["/bin/bash", "-c", "echo hello; exit"], "timeout": 5.0},
        {"model": "m", "target": "0", "argv": ["/bin/bash", "-c", "echo 'two words'"], "timeout": 300.0},
    ]


def test_exec_that_fails(juju, daemon, refusal):
    daemon.answers["exec"] = {"id": "9", "unit": "store/0", "stdout": "", "stderr": "no", "return-code": 3}
    with pytest.raises(jubilant.TaskError) as error:
        juju.exec("false", unit="store/0")
    assert error.value.task.return_code == 3
    daemon.answers["exec"] = refusal('unit "store/9" not found', "not-found")
    with pytest.raises(ValueError, match="store/9"):
        juju.exec("true", unit="store/9")
    daemon.answers["exec"] = refusal("timed out waiting for results from: unit store/0")
    with pytest.raises(TimeoutError):
        juju.exec("sleep 9", unit="store/0")


def test_show_unit(juju, daemon):
    info = {"opened-ports": ["80/tcp"], "charm": "local:web-0", "leader": True}
    daemon.answers["show_unit"] = {"web/0": info}
    assert juju.show_unit("web/0").opened_ports == ["80/tcp"]


def test_debug_log(juju, daemon):
    line = {"id": 4, "entity": "web/0", "time": "2026", "level": "INFO", "module": "juju-log", "message": "hello"}
    daemon.answers["debug_log"] = lambda since_id=0, **_: {"lines": [] if since_id >= 4 else [line]}
    assert juju.debug_log(limit=3) == "unit-web-0: 2026 INFO juju-log hello\n"
    assert juju.debug_log() == "unit-web-0: 2026 INFO juju-log hello\n"
    assert [asked.get("limit") for asked in daemon.asked("debug_log")] == [3, None, None]


def test_secrets(juju, daemon):
    times = {"created": "2026-11-24T07:48:36Z", "updated": "2026-11-24T07:48:36Z"}
    body = {"revision": 2, "owner": "<model>", "name": "s", **times}
    daemon.answers["add_secret"] = "secret:abc"
    daemon.answers["secrets"] = {"abc": body, "def": {**body, "owner": "store"}}
    daemon.answers["show_secret"] = lambda reveal, revisions, **_: {
        "abc": body
        | ({"content": {"password": "x"}} if reveal else {})
        | ({"revisions": [{"revision": 1, **times}]} if revisions else {})
    }
    uri = juju.add_secret("s", {"password": "x"}, info="why")
    assert uri == "secret:abc"
    assert juju.show_secret(uri, reveal=True).content == {"password": "x"}
    assert juju.show_secret(uri, revisions=True).revisions[0].revision == 1
    assert len(juju.secrets()) == 2
    assert [secret.owner for secret in juju.secrets(owner="store")] == ["store"]
    juju.update_secret(uri, {"password": "y"}, name="t", auto_prune=True)
    juju.grant_secret(uri, ["a", "b"])
    juju.cli("revoke-secret", uri, "a")
    juju.remove_secret(uri, revision=1)
    assert daemon.asked("add_secret") == [{"model": "m", "name": "s", "content": {"password": "x"}, "info": "why"}]
    assert [asked["app"] for asked in daemon.asked("grant_secret")] == ["a", "b"]
    assert daemon.asked("revoke_secret") == [{"model": "m", "secret": uri, "app": "a"}]
    assert daemon.asked("remove_secret") == [{"model": "m", "secret": uri, "revision": 1}]
    (updated,) = daemon.asked("update_secret")
    assert updated["content"] == {"password": "y"}
    assert (updated["name"], updated["auto_prune"]) == ("t", True)


def test_what_is_refused_says_why(juju):
    refused: list[tuple[Any, str]] = [
        (lambda: juju.offer("a", endpoint="x"), "no relations between models"),
        (lambda: juju.consume("a.b"), "no relations between models"),
        (lambda: juju.add_ssh_key("ssh-ed25519 A"), "without keys"),
        (lambda: juju.deploy("mysql"), "there is no Charmhub here"),
        (lambda: juju.refresh("a"), "give --path"),
        (lambda: juju.integrate("a", "b", via="10.0.0.0/8"), "for relations between models"),
        (lambda: juju.deploy(".", bind="dmz"), 'space "dmz" not found'),
        (lambda: juju.add_cloud("c", {"clouds": {}}, client=True), "only cloud"),
        (lambda: juju.update_cloud("c", {"clouds": {}}, client=True), "only cloud"),
        (lambda: juju.add_credential("c", {"credentials": {}}, client=True), "only cloud"),
        (lambda: juju.remove_ssh_key("a@b"), "without keys"),
        (lambda: juju.bootstrap("lxd", "mine"), "is called 'tabletop', not 'mine'"),
        (lambda: juju.add_machine("ssh:me@there"), "others can't be taken in"),
        (lambda: juju.remove_unit("a", num_units=1), "name the units"),
        (lambda: juju.cli("find-offers"), "no relations between models"),
    ]
    for call, words in refused:
        with pytest.raises(jubilant.CLIError) as error:
            call()
        assert error.value.stderr.startswith("ERROR ")
        assert words in error.value.stderr


class HereMachines:
    """Machines that are this one."""

    def __init__(self, paths: object) -> None:
        pass

    def popen(self, name: str, argv: list[str], *, env: dict[str, str], user: str, **streams: Any):
        assert (name, user) == ("m-0", "root")
        streams.pop("new_session")
        env["HOME"] = os.environ["HERE"]
        return subprocess.Popen(argv, env=env, **streams)


@pytest.fixture
def here(juju, daemon, monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr("tabletop.commands.machinery.Machines", HereMachines)
    daemon.answers["machine"] = {"name": "m-0", "pid": 1, "address": "10.0.0.2", "root": "/"}
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setenv("HERE", str(folder))
    return folder


def test_ssh(juju, daemon, here, capfd):
    juju.ssh("store/0", "echo $USER; pwd", "|", "cat", host_key_checks=False, ssh_options=["-i", "key", "-q", "--"])
    assert capfd.readouterr().out == f"root\n{here}\n"
    with pytest.raises(jubilant.CLIError) as error:
        juju.ssh(0, "exit 7", user="ubuntu")
    assert error.value.returncode == 7
    assert [asked["target"] for asked in daemon.asked("machine")] == ["store/0", "0"]


def test_scp(juju, here, tmp_path):
    source = tmp_path / "file"
    source.write_text("text")
    source.chmod(0o640)
    juju.scp(source, "store/0:")
    assert (here / "file").read_text() == "text"
    assert (here / "file").stat().st_mode & 0o777 == 0o640
    juju.scp(source, "ubuntu@store/0:renamed", host_key_checks=False)
    assert (here / "renamed").read_text() == "text"
    juju.scp("store/0:renamed", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "text"
    juju.cli("scp", str(source), str(tmp_path / "back"), "store/0:")
    assert (here / "back").is_file()


def test_scp_of_a_folder(juju, here, tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").write_text("text")
    juju.scp(folder, f"store/0:{here}", scp_options=["-r"])
    assert (here / "folder/deep/file").read_text() == "text"
    juju.scp(folder, "store/0:new", scp_options=["-r"])
    assert (here / "new/deep/file").read_text() == "text"
    juju.scp("store/0:new", tmp_path / "back", scp_options=["-r", "-C"])
    assert (tmp_path / "back/deep/file").read_text() == "text"


def test_options_of_scp_may_have_values(juju, here, tmp_path):
    (tmp_path / "file").write_text("text")
    juju.scp(tmp_path / "file", "store/0:", scp_options=["-i", "key", "-o", "User=me", "-P22", "-q"])
    assert (here / "file").read_text() == "text"
    with pytest.raises(jubilant.CLIError) as error:
        juju.scp(here, "store/0:new", scp_options=["-o", "r", "-oPort=r"])
    assert "is a folder; give -r" in error.value.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{here}/nope", "store/0:x"], "no such file"),
        (["store/0:nope", "{here}/x"], "nope: no such file"),
        (["{here}", "store/0:x"], "is a folder; give -r"),
        (["{here}/a", "{here}/a", "store/0:x"], "isn't a folder; several files"),
        (["{here}/a", "store/0:no/such/folder"], "no/such/folder: can't be written"),
        (["{here}/a"], "expected one source or several"),
        (["--", "-Z", "{here}/a", "store/0:x"], "option -Z not recognized"),
    ],
)
def test_scp_that_can_not_be(juju, here, words, expected):
    (here / "a").write_text("")
    with pytest.raises(jubilant.CLIError) as error:
        juju.cli("scp", *(word.format(here=here) for word in words))
    assert expected in error.value.stderr
