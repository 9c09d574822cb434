"""jubilant, as it is, drives the real daemon and engine; machines are folders of this host, hooks plain processes.

What needs machines (ssh, scp, constraints, addresses) is in tests/functional/tabletop.
"""

import datetime
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jubilant
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from engine_host import TESTS, ops_charm, settled, tabletop_on_host
from in_process import BINARY, InProcess, tabletop

CHARMS = TESTS / "charms"
# A charm without a library, so that packing its folder needs no downloads.
BARE = """\
import os, subprocess
hook = os.environ["JUJU_HOOK_NAME"]
subprocess.run(["status-set", "active", f"{hook} GENERATION"], check=True)
"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tabletop_on_host() as directory:
        (directory / "seed.txt").write_text("corn\n")
        for name in ("store", "web"):
            ops_charm(CHARMS / name, directory / f"{name}.charm")
        yield directory


@pytest.fixture(scope="module")
def juju(place: Path) -> jubilant.Juju:
    """A model with two related applications: the charms run on ops."""
    client = InProcess(wait_timeout=120)
    client.add_model("trial")
    client.deploy(
        place / "store.charm",
        num_units=2,
        config={"colour": "blue", "size": 3},
        resources={"seed": str(place / "seed.txt")},
        base="ubuntu@24.04",
        bind={"data": "alpha"},
        channel="latest/edge",
        force=True,
        trust=True,
    )
    client.deploy(place / "web.charm", "front", to="0", config={"loud": True, "ratio": 0.25})
    client.integrate("store", "front:data")
    client.wait(settled, error=jubilant.any_error)
    return client


@pytest.fixture
def empty(place: Path, request: pytest.FixtureRequest) -> Iterator[jubilant.Juju]:
    """A model of the test's own."""
    client = InProcess(wait_timeout=120)
    name = request.node.name.replace("_", "-").lower()[:40].rstrip("-")
    client.add_model(name, "localhost", controller="tabletop")
    yield client
    client.destroy_model(client.model or "", force=True, no_wait=True, destroy_storage=True, timeout=60)


def test_status_has_what_jubilant_parses(juju: jubilant.Juju) -> None:
    status = juju.status()
    assert (status.model.name, status.model.type, status.model.controller) == ("trial", "iaas", "tabletop")
    assert status.model.model_status.current == "available"
    assert status.controller.timestamp
    store, front = status.apps["store"], status.apps["front"]
    assert (store.charm, store.charm_name, store.charm_origin, store.charm_rev) == (
        "local:store-0",
        "store",
        "local",
        0,
    )
    assert (store.scale, store.exposed, store.version, store.base is not None) == (2, False, "1.0", True)
    assert store.app_status.message == "Ready (blue)"
    assert datetime.datetime.fromisoformat(store.app_status.since)
    assert [(one.related_app, one.interface, one.scope) for one in store.relations["data"]] == [
        ("front", "try-data", "global")
    ]
    assert store.endpoint_bindings["data"] == "alpha"
    unit = store.units["store/0"]
    assert (unit.leader, store.units["store/1"].leader) == (True, False)
    assert unit.workload_status.current == "active"
    assert datetime.datetime.fromisoformat(unit.workload_status.since)
    assert (unit.juju_status.current, unit.juju_status.version) == ("idle", status.model.version)
    assert unit.open_ports == ["8080/tcp"]
    assert unit.public_address == unit.address != ""
    assert (unit.machine, front.units["front/0"].machine) == ("0", "0")
    machine = status.machines["0"]
    assert machine.juju_status.current == "started"
    assert machine.machine_status.current == "running"
    assert (machine.hostname, machine.instance_id) == ("trial-0", "trial-0")
    assert machine.ip_addresses == [unit.public_address]
    assert machine.dns_name == unit.public_address
    assert machine.network_interfaces["host0"].is_up
    assert machine.base == store.base
    assert re.fullmatch(r"arch=\w+ cores=\d+ mem=\d+M virt-type=container", machine.hardware)
    assert machine.juju_status.version == status.model.version
    assert status.get_units("front") == front.units


def test_the_tables_say_the_same(juju: jubilant.Juju) -> None:
    status = juju.status()
    text = juju.cli("status", "--relations", "--storage")
    for name, unit in (*status.apps["store"].units.items(), *status.apps["front"].units.items()):
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert unit.workload_status.message in line
        assert unit.public_address in line
    assert "store:data" in text


def test_config(juju: jubilant.Juju) -> None:
    assert juju.config("front") == {"loud": True, "ratio": 0.25}
    assert juju.config("store", app_config=True)["trust"] is True
    juju.config("store", {"colour": "red", "size": 4})
    juju.wait(lambda status: status.apps["front"].units["front/0"].workload_status.message.startswith("Shows red"))
    juju.config("store", {"size": 5}, reset="colour")
    assert juju.config("store") == {"colour": "green", "size": 5}
    juju.config("store", reset=["size"])
    assert juju.config("store")["size"] == 3
    for values in ({"size": "many"}, {"nope": 1}):
        with pytest.raises(jubilant.CLIError):
            juju.config("store", values)
    assert juju.config("store") == {"colour": "green", "size": 3}
    juju.cli("config", "store", "--file", "-", stdin="colour: blue\n")
    assert juju.cli("config", "store", "colour") == "blue\n"


def test_trust(juju: jubilant.Juju) -> None:
    juju.trust("store", remove=True)
    assert juju.config("store", app_config=True)["trust"] is False
    juju.trust("store", scope="cluster")
    assert juju.config("store", app_config=True)["trust"] is True


def test_actions(juju: jubilant.Juju) -> None:
    task = juju.run("store/leader", "smoke-test", {"lines": 2}, wait=60)
    assert (task.status, task.return_code) == ("completed", 0)
    assert task.results == {"seed": "corn", "size": "3"}
    assert [line.rpartition("Z ")[2] for line in task.log] == ["line 0", "line 1"]
    with pytest.raises(jubilant.TaskError) as failed:
        juju.run("store/0", "smoke-test", {"fail": "because"})
    assert (failed.value.task.status, failed.value.task.message) == ("failed", "because")
    assert failed.value.task.results == {"half": "done"}
    assert "failed: because" in juju.cli("run", "store/0", "smoke-test", "fail=because"), "which ends with 0, as Juju's"
    with pytest.raises(ValueError, match="lines: -1 is less than the minimum of 0"):
        juju.run("store/0", "smoke-test", {"lines": -1})
    with pytest.raises(ValueError, match='action "nope" not defined'):
        juju.run("store/0", "nope")
    with pytest.raises(ValueError, match='unit "store/9" not found'):
        juju.run("store/9", "smoke-test")
    assert "Show the seed" in juju.cli("actions", "store")
    shown = yaml.safe_load(juju.cli("show-action", "store", "smoke-test", "--format", "yaml"))
    assert shown["properties"]["lines"]["minimum"] == 0
    again = juju.cli("run", "store/0", "smoke-test", "--params", "-", "--format", "json", stdin="lines: 1\n")
    assert len(json.loads(again)["store/0"]["log"]) == 1


def test_operations(juju: jubilant.Juju) -> None:
    scheduled = tabletop("run", "-m", "trial", "store/0", "store/1", "smoke-test", "lines=1", "--background").stderr
    operation = scheduled.split()[2]
    shown = json.loads(juju.cli("show-operation", operation, "--wait", "30s", "--format", "json"))
    assert shown["status"] == "completed"
    assert shown["action"]["name"] == "smoke-test"
    assert shown["action"]["parameters"]["lines"] == 1
    assert [task["host"] for task in shown["tasks"].values()] == ["store/0", "store/1"]
    task = list(shown["tasks"])[1]
    assert json.loads(juju.cli("show-task", task, "--format", "json"))["unit"] == "store/1"
    listed = json.loads(juju.cli("operations", "--actions", "smoke-test", "--units", "store/1", "--format", "json"))
    assert listed[operation]["summary"] == "smoke-test run on store/0,store/1"
    assert "no matching operations" in tabletop("operations", "-m", "trial", "--apps", "front").stderr
    juju.exec("true", unit="front/0")
    assert "juju-exec" in juju.cli("operations", "--actions", "juju-exec", "--format", "yaml")


def test_tasks_are_cancelled(empty: jubilant.Juju, place: Path) -> None:
    empty.deploy(place / "store.charm", resources={"seed": str(place / "seed.txt")})
    empty.wait(settled)
    started = place / "started"
    words = ["exec", "-m", empty.model, "--unit", "store/0", "--", f"touch {started}; sleep 60; true"]
    with subprocess.Popen([BINARY, *words], stderr=subprocess.PIPE, text=True) as sleeping:
        while not started.exists():
            assert sleeping.poll() is None
            time.sleep(0.05)
        (running,) = json.loads(empty.cli("operations", "--actions", "juju-exec", "--format", "json"))
        queued = tabletop("run", "-m", empty.model, "store/0", "smoke-test", "--background").stderr
        waiting = queued.split("show-task ")[1].split("'")[0]
        cancelled = json.loads(empty.cli("cancel-task", waiting, running, "--format", "json"))
        assert cancelled[waiting]["status"] == "cancelled"
        _, said = sleeping.communicate(timeout=30)
        assert sleeping.returncode == 1
        assert "the command did not end on unit store/0" in said
    ended = {id: json.loads(empty.cli("show-task", id, "--watch", "--format", "json")) for id in (waiting, running)}
    assert {id: task["status"] for id, task in ended.items()} == {waiting: "cancelled", running: "aborted"}
    assert "started" not in ended[waiting]["timing"]
    # The unit goes on.
    assert empty.run("store/0", "smoke-test").success
    assert tabletop("cancel-task", "-m", empty.model, "999").stderr == 'ERROR task "999" not found\n'


def test_exec(juju: jubilant.Juju) -> None:
    task = juju.exec("config-get size; echo $JUJU_UNIT_NAME", unit="store/leader")
    assert task.stdout == "3\nstore/0\n"
    assert juju.exec("echo", "two  words", machine=0).stdout == "two  words\n"
    with pytest.raises(jubilant.TaskError) as failed:
        juju.exec("echo out; echo err >&2; exit 3", unit="store/0")
    assert (failed.value.task.return_code, failed.value.task.stdout, failed.value.task.stderr) == (3, "out\n", "err\n")
    with pytest.raises(TimeoutError):
        juju.exec("sleep 30", unit="store/1", wait=0.5)
    with pytest.raises(ValueError, match="store/9"):
        juju.exec("true", unit="store/9")


def test_show_unit(juju: jubilant.Juju) -> None:
    info = juju.show_unit("front/0")
    assert (info.leader, info.machine, info.charm) == (True, "0", "local:web-0")
    (relation,) = [one for one in info.relation_info if one.endpoint == "data"]
    assert relation.related_endpoint == "data"
    assert relation.app_data["colour"] == juju.config("store")["colour"]
    assert relation.related_units["store/1"].data["unit"] == "store/1"
    assert relation.local_unit is not None
    assert relation.local_unit.in_scope
    narrowed = json.loads(juju.cli("show-unit", "front/0", "--related-unit", "store/1", "--format", "json"))
    (only,) = narrowed["front/0"]["relation-info"]
    assert list(only["related-units"]) == ["store/1"]
    assert (
        "relation-info"
        not in json.loads(juju.cli("show-unit", "front/0", "--endpoint", "other", "--format", "json"))["front/0"]
    )
    assert "related-units" not in juju.cli("show-unit", "front/0", "--app")


def test_debug_log(juju: jubilant.Juju) -> None:
    assert len(juju.debug_log(limit=5).splitlines()) == 5
    everything = juju.debug_log()
    assert 'ran "start" hook' in everything
    only = juju.cli("debug-log", "--limit", "3", "--include", "front", "--level", "INFO").splitlines()
    assert len(only) == 3
    assert {line.partition(":")[0] for line in only} == {"unit-front-0"}
    assert " DEBUG " not in "".join(only)
    replayed = juju.cli("debug-log", "--replay", "--no-tail", "--exclude", "store/*", "--exclude", "machine-0")
    assert "unit-store" not in replayed


def test_secrets(juju: jubilant.Juju) -> None:
    uri = juju.add_secret("database", {"password": "hunter2", "user": "me"}, info="of the test")
    juju.update_secret("database", {"password": "other"}, info="changed", name="db")
    secret = juju.show_secret(uri, reveal=True)
    assert (secret.revision, secret.name, secret.description) == (2, "db", "changed")
    assert secret.content == {"password": "other"}
    assert juju.show_secret("db", reveal=True, revision=1).content == {"password": "hunter2", "user": "me"}
    assert [one.revision for one in juju.show_secret(uri, revisions=True).revisions or []] == [1, 2]
    juju.grant_secret("db", ["store", "front"])
    assert {one.target for one in juju.show_secret(uri).access or []} == {"application-store", "application-front"}
    assert juju.exec(f"secret-get {uri} password", unit="store/0").stdout.strip() == "other"
    juju.cli("revoke-secret", "db", "store")
    with pytest.raises(jubilant.TaskError):
        juju.exec(f"secret-get {uri} --refresh", unit="store/0")
    assert [one.uri.unique_identifier for one in juju.secrets()] == [uri.unique_identifier]
    assert juju.secrets(owner="store") == []
    juju.remove_secret(uri, revision=1)
    assert [one.revision for one in juju.show_secret(uri, revisions=True).revisions or []] == [2]
    assert juju.show_model().secret_backends["internal"].num_secrets == 1
    for key in ("x", "Password", "a--b"):
        with pytest.raises(jubilant.CLIError, match="not valid"):
            juju.update_secret("db", {key: "y"})
    juju.remove_secret("db")
    assert juju.secrets() == []
    with pytest.raises(jubilant.CLIError):
        juju.show_secret("db")


def test_model_config(juju: jubilant.Juju) -> None:
    juju.model_config({"update-status-hook-interval": "10m"})
    assert juju.model_config()["update-status-hook-interval"] == "10m"
    juju.model_config(reset="update-status-hook-interval")
    assert juju.model_config()["update-status-hook-interval"] == "5m"
    with pytest.raises(jubilant.CLIError, match="nope"):
        juju.model_config({"nope": 1})


def test_model_constraints(empty: jubilant.Juju) -> None:
    assert empty.model_constraints() == {}
    empty.model_constraints({"mem": "1G", "cores": 1, "tags": "fast"})
    assert empty.model_constraints() == {"mem": "1G", "cores": "1", "tags": "fast"}
    with pytest.raises(jubilant.CLIError, match="much"):
        empty.model_constraints({"mem": "much"})
    empty.add_machine()
    assert {"cores=1", "mem=1024M"} <= set(empty.status().machines["0"].constraints.split())
    assert " cores=1 mem=1024M " in empty.status().machines["0"].hardware


def test_models(juju: jubilant.Juju, empty: jubilant.Juju) -> None:
    info = juju.show_model()
    assert (info.name, info.short_name, info.model_type, info.life) == ("admin/trial", "trial", "iaas", "alive")
    assert info.status.current == "available"
    assert set(info.machines) == set(juju.status().machines)
    assert juju.show_model(empty.model).short_name == "test-models"
    assert InProcess(model="tabletop:admin/trial").status().apps
    listed = json.loads(juju.cli("models", "--format", "json", include_model=False))["models"]
    assert [model["short-name"] for model in listed] == ["test-models", "trial"]
    juju.cli("switch", "trial", include_model=False)
    assert InProcess().status().model.name == "trial"
    for model in ("other:trial", "nope"):
        with pytest.raises(jubilant.CLIError, match="not found"):
            InProcess(model=model).status()
    with pytest.raises(jubilant.CLIError, match="already exists"):
        InProcess().add_model("trial")


def test_in_a_process_of_its_own(juju: jubilant.Juju) -> None:
    unmodified = jubilant.Juju(model="trial", cli_binary=BINARY)
    assert unmodified.version().release == "tabletop"
    assert unmodified.status() == juju.status()
    assert unmodified.cli("config", "store", "--file", "-", stdin="size: 3\n") == ""


def test_units_come_and_go(juju: jubilant.Juju) -> None:
    juju.add_unit("front", num_units=2, to=["1", "new"])
    juju.wait(lambda status: len(status.apps["front"].units) == 3 and settled(status))
    units = juju.status().apps["front"].units
    assert units["front/1"].machine == "1"
    assert units["front/2"].machine not in ("0", "1")
    juju.remove_unit("front/1", "front/2", destroy_storage=True)
    juju.wait(lambda status: list(status.apps["front"].units) == ["front/0"] and settled(status))
    # A machine goes with its last unit.
    juju.wait(lambda status: set(status.machines) == {"0", "1"})


def test_machines_without_units(empty: jubilant.Juju, place: Path) -> None:
    empty.add_machine(num_machines=2, base="ubuntu@24.04", constraints={"cores": 1})
    empty.add_machine("lxd")
    empty.wait(lambda status: [one.juju_status.current for one in status.machines.values()] == ["started"] * 3)
    assert empty.status().apps == {}
    assert "cores=1" in empty.status().machines["0"].constraints.split()
    assert " cores=1 " in empty.status().machines["0"].hardware
    assert empty.exec("echo here", machine=1).stdout == "here\n"
    listed = json.loads(empty.cli("machines", "--format", "json"))["machines"]
    assert sorted(listed) == ["0", "1", "2"]
    shown = yaml.safe_load(empty.cli("show-machine", "1"))
    assert shown["machines"]["1"]["juju-status"]["current"] == "started"
    empty.deploy(place / "web.charm", "front", to="1")
    empty.wait(lambda status: jubilant.all_blocked(status) and jubilant.all_agents_idle(status))
    assert empty.status().apps["front"].units["front/0"].machine == "1"
    empty.cli("remove-machine", "0")
    with pytest.raises(jubilant.CLIError, match="front/0"):
        empty.cli("remove-machine", "1")
    empty.cli("remove-machine", "1", "--force", "--no-prompt")
    empty.wait(lambda status: set(status.machines) == {"2"} and status.apps["front"].units == {})
    with pytest.raises(jubilant.CLIError, match="not found"):
        empty.cli("remove-machine", "1")


def test_a_folder_is_deployed_and_refreshed_in_place(empty: jubilant.Juju, place: Path) -> None:
    folder = place / "bare"
    (folder / "src").mkdir(parents=True)
    (folder / "charmcraft.yaml").write_text(
        "name: bare\nparts: {charm: {plugin: python, source: .}}\n"
        "config: {options: {colour: {type: string}}}\nresources: {blob: {type: file, filename: b}}\n"
    )
    program = folder / "src/charm.py"
    program.write_text(BARE.replace("GENERATION", "one"))
    empty.deploy(folder, num_units=2)
    empty.wait(settled)
    program.write_text(BARE.replace("GENERATION", "two"))
    empty.refresh("bare", path=folder, config={"colour": "red"}, trust=True)

    def refreshed(status: jubilant.Status) -> bool:
        units = status.apps["bare"].units.values()
        return settled(status) and all(unit.workload_status.message == "config-changed two" for unit in units)

    empty.wait(refreshed)
    status = empty.status().apps["bare"]
    assert status.charm_rev == 1
    assert empty.config("bare") == {"colour": "red"}
    assert empty.config("bare", app_config=True)["trust"] is True
    events = empty.debug_log()
    assert 'ran "upgrade-charm" hook' in events
    blob = place / "blob"
    blob.write_text("bytes")
    empty.refresh("bare", resources={"blob": str(blob)})
    empty.wait(settled)
    assert empty.exec("cat $(resource-get blob)", unit="bare/1").stdout == "bytes"
    assert empty.status().apps["bare"].charm_rev == 1


def test_storage(empty: jubilant.Juju, place: Path) -> None:
    def there(status: jubilant.Status, name: str) -> bool:
        return status.storage.storage[name].status.current == "attached" and jubilant.all_agents_idle(status)

    declared = {"data": {"type": "filesystem", "multiple": {"range": "1-3"}}}
    charm = ops_charm(CHARMS / "web", place / "keeper.charm", {"name": "keeper", "storage": declared})
    empty.deploy(charm, storage={"data": "1,2G"})
    empty.wait(jubilant.all_blocked)
    storage = empty.status().storage
    assert storage.storage["data/0"].kind == "filesystem"
    assert storage.storage["data/0"].status.current == "attached"
    assert storage.storage["data/0"].attachments is not None
    location = storage.storage["data/0"].attachments.units["keeper/0"].location
    assert storage.filesystems["0"].size == 2048
    assert storage.filesystems["0"].attachments.machines["0"].mount_point == location
    empty.exec(f"echo kept > {location}/file", unit="keeper/0")
    empty.cli("add-storage", "keeper/0", "data=1,512M")
    empty.wait(lambda status: there(status, "data/1"))
    assert "data/1" in empty.cli("storage")
    assert json.loads(empty.cli("show-storage", "data/0", "--format", "json"))["data/0"]["kind"] == "filesystem"
    empty.cli("detach-storage", "data/1")
    empty.wait(lambda status: status.storage.storage["data/1"].attachments is None)
    empty.cli("attach-storage", "keeper/0", "data/1")
    empty.wait(lambda status: there(status, "data/1"))
    with pytest.raises(jubilant.CLIError, match="attached"):
        empty.cli("remove-storage", "data/1")
    empty.cli("remove-storage", "data/1", "--force", "--no-prompt")
    empty.wait(lambda status: set(status.storage.storage) == {"data/0"})
    empty.remove_unit("keeper/0")
    empty.wait(lambda status: not status.apps["keeper"].units)
    empty.add_unit("keeper", attach_storage="data/0")
    empty.wait(lambda status: there(status, "data/0"))
    attachments = empty.status().storage.storage["data/0"].attachments
    assert attachments is not None
    location = attachments.units["keeper/1"].location
    empty.wait(jubilant.all_agents_idle)
    assert empty.exec(f"cat {location}/file", unit="keeper/1").stdout == "kept\n"
    empty.remove_application("keeper", destroy_storage=True)
    empty.wait(lambda status: not status.apps and not status.storage.storage)


def test_a_bundle_with_overlays(empty: jubilant.Juju, place: Path) -> None:
    (place / "bundle.yaml").write_text(
        "applications:\n"
        "  store: {charm: ./store.charm, num_units: 1, options: {colour: blue}, resources: {seed: seed.txt}, to: [0]}\n"
        "  front: {charm: ./web.charm, num_units: 1, to: [lxd:0]}\n"
        "machines: {0: }\n"
        "relations: [[store, front]]\n"
    )
    more = place / "more.yaml"
    more.write_text("applications: {store: {num_units: 2}}\n")
    red = place / "red.yaml"
    red.write_text("applications: {store: {options: {colour: red}}}\n")
    empty.deploy(place / "bundle.yaml", overlays=[more, red])
    empty.wait(settled)
    status = empty.status()
    assert status.apps["front"].units["front/0"].workload_status.message == "Shows red of 2"
    assert len(status.machines) == 3


def test_a_failed_hook_is_an_error_until_it_succeeds(empty: jubilant.Juju, place: Path) -> None:
    broken = ops_charm(CHARMS / "web", place / "broken.charm", {"name": "broken"})
    empty.deploy(broken, config={"ratio": 0.5})
    empty.wait(jubilant.all_blocked)
    failing = place / "failing"
    (failing / "src").mkdir(parents=True)
    (failing / "charmcraft.yaml").write_text("name: broken\nrequires: {data: {interface: try-data}}\n")
    (failing / "src/charm.py").write_text("raise SystemExit('it broke')\n")
    ops_charm(failing, place / "failing.charm")
    empty.refresh("broken", path=place / "failing.charm")
    with pytest.raises(jubilant.WaitError):
        empty.wait(lambda _: False, error=jubilant.any_error)
    unit = empty.status().apps["broken"].units["broken/0"]
    assert unit.workload_status.message == 'hook failed: "upgrade-charm"'
    assert "it broke" in empty.debug_log()
    # It is tried again by itself, with the charm there is then.
    empty.refresh("broken", path=broken, force=True)
    empty.wait(lambda status: jubilant.all_blocked(status) and jubilant.all_agents_idle(status))


def test_wait_for(juju: jubilant.Juju) -> None:
    juju.cli("wait-for", "application", "store")
    juju.cli("wait-for", "unit", "front/0", "--query", 'agent-status=="idle" && !(workload-status=="blocked")')
    juju.cli("wait-for", "machine", "0", "--timeout", "5s")
    juju.cli("wait-for", "model", "trial", include_model=False)
    started = time.monotonic()
    with pytest.raises(jubilant.CLIError, match="timed out waiting for application 'nope': it isn't there"):
        juju.cli("wait-for", "application", "nope", "--timeout", "0.5s")
    assert time.monotonic() - started >= 0.5


def test_every_method_of_jubilant_is_tried() -> None:
    """Here, or in the tests beside this one (what is refused, and what needs machines)."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    methods = {name for name in vars(jubilant.Juju) if not name.startswith("_")} - {"cli_binary", "model"}
    assert [name for name in sorted(methods) if not re.search(rf"\.{name}\(", text)] == []


# From here on the two applications go.


def test_relations_end(juju: jubilant.Juju) -> None:
    juju.remove_relation("store", "front:data", force=True)
    juju.wait(lambda status: status.apps["front"].is_blocked and status.apps["store"].relations == {})
    with pytest.raises(jubilant.CLIError, match="not found"):
        juju.remove_relation("store", "front")


def test_applications_are_removed(juju: jubilant.Juju) -> None:
    juju.remove_application("store", "front", destroy_storage=True, force=True)
    juju.wait(lambda status: status.apps == {} and status.machines == {})
    with pytest.raises(jubilant.CLIError, match="not found"):
        juju.remove_application("store")


def test_destroying_the_instances_model_forgets_it(place: Path) -> None:
    client = InProcess()
    client.add_model("short-lived")
    client.destroy_model("tabletop:admin/short-lived")
    assert client.model is None
    with pytest.raises(jubilant.CLIError, match="not found"):
        client.show_model("short-lived")
