"""A hook commits as a whole or not at all; failing hooks are tried again."""

import json
import threading

import pytest
from world import World

from tabletop.engine import transaction
from tabletop.engine.hooks import HookContext
from tabletop.errors import TabletopError


@pytest.fixture
def related(world: World) -> World:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    return world


def test_writes_are_seen_inside_the_hook_and_by_others_only_after_it(related: World) -> None:
    world = related
    looking = f"""
        relation-set -r db:1 port=7 host=here
        relation-get -r db:1 port "$JUJU_UNIT_NAME" > {world.directory}/inside
        touch {world.directory}/written
        while [ ! -e {world.directory}/seen ]; do sleep 0.02; done
    """
    world.behave("db-0", "config-changed", looking)
    world.controller.set_config("m", "db", {"port": "7"})
    world.until((world.directory / "written").exists)
    assert world.out("app/0", "relation-get -r db:1 port db/0") == ""
    (world.directory / "seen").touch()
    world.settle()
    assert (world.directory / "inside").read_text() == "7\n"
    assert world.out("app/0", "relation-get -r db:1 port db/0") == "7"


def test_a_failing_hook_writes_nothing_shows_error_is_tried_again_and_then_commits(related: World) -> None:
    world = related
    world.behave(
        "db-0",
        "config-changed",
        """
        relation-set -r db:1 port=7
        relation-set -r db:1 --app host=here
        open-port 80
        state-set key=value
        secret-add --label mine password=x
        status-set maintenance "half way"
        exit 3
        """,
    )
    world.controller.set_config("m", "db", {"port": "7"})
    status = world.until(
        lambda: (unit := world.units()["db/0"]) and unit["workload-status"]["current"] == "error" and unit
    )
    assert status["workload-status"]["message"] == 'hook failed: "config-changed"'
    world.until(lambda: world.events("db/0").count("config-changed") >= 2, "a second try")
    assert world.out("app/0", "relation-get -r db:1 port db/0; relation-get -r db:1 --app - db") == "{}"
    assert world.units()["db/0"]["open-ports"] == []
    assert world.controller.secrets("m") == {}
    assert "app/0 db-relation-changed db/0" not in world.all_events()
    world.forget("db-0", "config-changed")
    world.settle()
    unit = world.until(lambda: (found := world.units()["db/0"])["workload-status"]["current"] != "error" and found)
    assert unit["workload-status"]["message"] == "half way", "status-set applies at once"
    assert world.out("db/0", "state-get") == "{}"
    assert "exit status 3" in world.log("ERROR")


def test_resolved_retries_now_or_skips(world: World) -> None:
    world.controller.stop()
    world.settings = type(world.settings)(retry_first=1000, juju_directory=None, machine_poll=0.2)
    world.restart()
    world.behave("any", "install", "exit 1")
    world.deploy("provider", "db", num_units=2)
    for unit in ("db/0", "db/1"):
        world.until(lambda unit=unit: world.units()[unit]["workload-status"]["current"] == "error")
    assert world.all_events().count("db/0 install") == 1
    world.controller.resolved("m", "db/0", no_retry=True)
    world.until(lambda: "start" in world.events("db/0"), "db/0 going on")
    assert world.events("db/0").count("install") == 1
    world.controller.resolved("m", "db/1")
    world.until(lambda: world.events("db/1").count("install") == 2, "a retry")
    world.until(lambda: world.units()["db/1"]["workload-status"]["current"] == "error")
    world.forget("any", "install")
    world.controller.resolved("m", "db/1")
    world.until(lambda: "start" in world.events("db/1"), "db/1 going on")
    world.settle()
    with pytest.raises(TabletopError, match="not in an error state"):
        world.controller.resolved("m", "db/1")


def test_ports_state_and_version_are_committed(related: World) -> None:
    world = related
    world.out(
        "db/0",
        "open-port 80; open-port 8000-8010/udp; open-port icmp; open-port 90/tcp --endpoints db;"
        "close-port 80/tcp; open-port 81; state-set a=1 b=2; application-version-set 1.2.3",
    )
    assert world.units()["db/0"]["open-ports"] == ["icmp", "81/tcp", "90/tcp", "8000-8010/udp"]
    assert json.loads(world.out("db/0", "opened-ports --format json --endpoints")) == [
        "icmp (*)",
        "81/tcp (*)",
        "90/tcp (db)",
        "8000-8010/udp (*)",
    ]
    world.out("db/0", "state-delete a; close-port icmp")
    assert json.loads(world.out("db/0", "state-get --format json")) == {"b": "2"}
    assert world.status()["applications"]["db"]["version"] == "1.2.3"


def test_a_commit_waits_for_a_tool_that_the_hook_left_running(related: World) -> None:
    model = related.controller._model("m")
    context = HookContext(model, model.unit("db/0"), None)
    committing = threading.Thread(target=transaction.commit, args=(context,))
    with context.lock:
        committing.start()
        committing.join(0.3)
        assert committing.is_alive()
        context.state = {"late": "yes"}
    committing.join(20)
    assert related.out("db/0", "state-get late") == "yes"


def test_relation_data_and_secrets_never_reach_the_log(related: World) -> None:
    world = related
    world.out("db/0", "relation-set -r db:1 word=hush-hush; secret-add password=very-private")
    world.refused("db/0", "relation-set -r db:1 word=hush-hush bad; exit 1")
    log = world.log()
    assert "hush-hush" not in log
    assert "very-private" not in log
