"""The hook tools: formats, and refusals in the words that ops looks for."""

import json
import re
from collections.abc import Iterator

import pytest
from world import World, making_world


@pytest.fixture(scope="module")
def related() -> Iterator[World]:
    with making_world() as world:
        world.deploy("provider", "db", num_units=2)
        world.deploy("requirer", "app")
        world.controller.integrate("m", "app:db", "db")
        world.settle()
        yield world


def test_relations_are_listed_and_read(related: World) -> None:
    world = related
    assert json.loads(world.out("app/0", "relation-ids db --format=json")) == ["db:1"]
    assert world.out("app/0", "relation-ids single --format=json") == "[]"
    assert json.loads(world.out("app/0", "relation-list --format=json -r db:1")) == ["db/0", "db/1"]
    assert world.out("app/0", "relation-list --format=json --app -r 1") == '"db"'
    assert json.loads(world.out("db/0", "relation-list --format=json -r cluster:0")) == ["db/1"]
    assert world.out("app/0", "relation-get -r 1 ingress-address db/1") == "127.0.0.11"
    assert "uuid" in json.loads(world.out("app/0", "relation-model-get -r 1 --format=json"))
    assert world.out("app/0", "relation-get -r 1 nope db/0 --format=json") == "null"


def test_relations_take_files_and_forget_empty_values(related: World) -> None:
    world = related
    world.out("db/0", """echo '{"a": "1", "b": "x y"}' | relation-set -r db:1 --file -""")
    world.out("db/0", "echo 'c: three' > f.yaml; relation-set -r db:1 --file f.yaml d=4 a=")
    data = json.loads(world.out("app/0", "relation-get -r 1 - db/0 --format=json"))
    assert {key: data[key] for key in data if len(key) == 1} == {"b": "x y", "c": "three", "d": "4"}
    big = "head -c 3000000 /dev/zero | tr '\\0' x"
    world.out("db/0", f"""printf '{{"big": "%s"}}' "$({big})" > big.json; relation-set -r 1 --file big.json""")
    assert world.out("app/0", "relation-get -r 1 big db/0 | wc -c") == "3000001"


@pytest.mark.parametrize(
    ("unit", "script", "text"),
    [
        ("db/1", "relation-set -r db:1 --app a=b", "ERROR cannot write relation settings"),
        ("db/1", "relation-get -r db:1 --app - db", "ERROR permission denied"),
        ("app/0", "relation-get -r 1 - db/7", "ERROR cannot read settings for unit"),
        ("db/0", "relation-get -r 1 - db/1", "ERROR permission denied"),
        ("app/0", "relation-list -r 99", 'ERROR invalid value "99" for option -r: relation not found'),
        ("app/0", "relation-get -r single:1 - db/0", "relation not found"),
        ("app/0", "relation-get -r nonsense", "invalid relation id"),
        ("app/0", "relation-list", "ERROR no relation id specified"),
        ("app/0", "relation-set -r 1 nonsense", 'ERROR expected "key=value", got "nonsense"'),
        ("app/0", "relation-get --nonsense", "ERROR option provided but not defined: --nonsense"),
        ("app/0", "network-get nope", 'ERROR no network config found for binding "nope"'),
        ("app/0", "network-get db -r 99", "ERROR relation 99 not found"),
        (
            "db/1",
            "status-set --application=true active",
            "ERROR setting application status: this unit is not the leader",
        ),
        ("db/1", "status-get --application=true", "ERROR finding application status: this unit is not the leader"),
        ("app/0", "status-set fine", 'ERROR invalid status "fine"'),
        ("app/0", "action-get", "ERROR not running an action"),
        ("app/0", "open-port 70000", "ERROR port must be in the range"),
        ("app/0", "open-port 20-10/tcp", "ERROR invalid port range 20-10/tcp"),
        ("app/0", "open-port 10/sctp", "ERROR invalid protocol"),
        (
            "app/0",
            "open-port 10-20; open-port 15",
            'ERROR cannot open 15/tcp (unit "app/0"): port range conflicts with',
        ),
        ("app/0", "credential-get", "ERROR cannot access cloud credentials"),
        ("app/0", "payload-register a b c", "ERROR payloads are not supported"),
        ("app/0", "storage-get -s data/9", "storage not found"),
        ("app/0", "storage-add nope", 'ERROR charm storage "nope" not found'),
        ("app/0", "juju-log", "ERROR no message specified"),
        ("app/0", "config-get --format=xml", 'unknown format "xml"'),
        ("app/0", "relation-set -r 1 --file /no/such", "ERROR cannot read /no/such"),
        ("app/0", "JUJU_CONTEXT_ID=forged is-leader", "ERROR is-leader: the hook 'forged' is over"),
        ("app/0", "unset JUJU_CONTEXT_ID; is-leader", "ERROR is-leader: JUJU_CONTEXT_ID not set"),
    ],
)
def test_refusals(related: World, unit: str, script: str, text: str) -> None:
    assert text in related.refused(unit, script)


def test_the_words_by_which_ops_knows_a_relation_that_is_gone(related: World) -> None:
    error = related.refused("app/0", "relation-get -r 99 - db/0")
    assert re.search(r"relation (\d+ )?not found", error)


def test_network_status_leadership_and_goals(related: World) -> None:
    world = related
    network = json.loads(world.out("db/0", "network-get db -r 1 --format=json"))
    assert network["ingress-addresses"] == ["127.0.0.10"]
    assert network["egress-subnets"] == ["127.0.0.10/32"]
    assert network["bind-addresses"][0]["addresses"][0]["value"] == "127.0.0.10"
    assert world.out("db/0", "network-get db --ingress-address") == "127.0.0.10"
    assert world.out("db/0", "is-leader --format=json") == "true"
    assert world.out("db/1", "is-leader --format=json") == "false"
    world.out("db/0", "status-set --application=True blocked 'the app'; status-set active -- -dash")
    assert json.loads(world.out("db/0", "status-get --include-data --format=json")) == {
        "message": "-dash",
        "status": "active",
        "status-data": {},
    }
    whole = json.loads(world.out("db/0", "status-get --include-data --format=json --application=true"))
    assert whole["application-status"]["message"] == "the app"
    assert whole["units"]["db/0"]["status"] == "active"
    assert world.status()["applications"]["db"]["application-status"]["current"] == "blocked"
    goals = json.loads(world.out("app/0", "goal-state --format=json"))
    assert list(goals["units"]) == ["app/0"]
    assert sorted(goals["relations"]["db"]) == ["db", "db/0", "db/1"]


def test_storage_can_be_listed_used_and_added(related: World) -> None:
    world = related
    world.clear()
    assert json.loads(world.out("app/0", "storage-list --format=json")) == ["data/0"]
    location = world.out("app/0", "storage-get -s data/0 location")
    assert json.loads(world.out("app/0", "storage-get -s data/0 --format=json")) == {
        "kind": "filesystem",
        "location": location,
    }
    world.out("app/0", f"echo kept > {location}/file; storage-add data=1")
    world.settle()
    assert world.events("app/0") == ["data-storage-attached"]
    assert json.loads(world.out("app/0", "storage-list data --format=json")) == ["data/0", "data/1"]


def test_what_a_hook_sees_of_its_relation_without_naming_it(related: World) -> None:
    world = related
    world.behave(
        "app-0",
        "db-relation-changed",
        f"{{ relation-list; relation-get; relation-ids; }} > {world.directory}/seen; relation-set answer=yes",
    )
    world.out("db/1", "relation-set -r 1 port=1")
    world.settle()
    assert "port: '1'" in (world.directory / "seen").read_text()
    assert world.out("db/0", "relation-get -r 1 answer app/0") == "yes"


def test_formats(related: World) -> None:
    world = related
    assert world.out("app/0", "relation-ids db") == "db:1"
    assert world.out("app/0", "relation-ids db --format yaml") == "- db:1"
    assert world.out("app/0", "relation-list -r 1 --app=true") == "db"
    assert world.out("app/0", "config-get --all --format=json | tr ',' '\\n' | grep -c :") == "6"
    assert world.out("app/0", "status-set active; status-get") == "active"
    assert world.out("db/0", "status-set --application active; status-get --application") == "active"
    assert world.out("db/0", "network-get db --egress-subnets") == "127.0.0.10/32"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("is-leader --format", "ERROR option needs an argument: --format"),
        ("relation-list -r 1 --app=perhaps", 'invalid value "perhaps" for option --app'),
        ("relation-ids", "ERROR no endpoint name specified"),
        ("relation-get -r 1 - nobody", 'ERROR invalid value "nobody": not a unit or application'),
        ("relation-get -r 1", "ERROR no unit id specified"),
        ("relation-get -r 1 --app", "ERROR no unit or application specified"),
        ("printf '[1]' | relation-set -r 1 --file -", "ERROR - must hold a mapping"),
        ("printf '{a: [1]}' | relation-set -r 1 --file -", "ERROR the value of a in - must be a string"),
        ("printf '{a' | relation-set -r 1 --file -", "ERROR cannot parse -"),
        ("printf '\\377' | relation-set -r 1 --file -", "ERROR - is not UTF-8 text"),
        ("open-port", "ERROR no port or protocol specified"),
        ("open-port 10/icmp", 'doesn\'t support any ports; got "10"'),
        ("open-port ten", "ERROR expected <port>"),
        ("open-port 10 --endpoints nope", 'ERROR endpoint "nope" not found'),
        ("open-port 10-20; close-port 15", "ERROR cannot close 15/tcp"),
        ("secret-add a", 'ERROR key value "a" not valid'),
        ("secret-add", "ERROR missing secret value or filename"),
        ("secret-add a#base64=%", 'ERROR the value of "a" is not base64'),
        ("secret-add a=b --owner nobody", 'ERROR secret owner "nobody" not valid'),
        ("secret-add a=b --expire soon", "ERROR expire time or duration"),
        ("secret-get --label a --peek --refresh", "specify one of --peek or --refresh but not both"),
        ("secret-grant $(secret-add a=b)", "ERROR no relation specified"),
        ("secret-grant $(secret-add a=b) -r 1 --unit app/0", 'ERROR unit "app/0" is not in the relation'),
        ("secret-revoke $(secret-add a=b)", "must specify either an application, a unit or a relation"),
        ("secret-remove $(secret-add a=b) --revision x", 'invalid value "x" for option --revision'),
        ("secret-get $(secret-add a=b) nope", 'ERROR secret key "nope" not found'),
        ("storage-get", "ERROR no storage instance specified"),
        ("storage-get -s data/0 size", 'ERROR invalid storage attribute "size"'),
        ("storage-add", "ERROR storage add requires a storage directive"),
        ("storage-add data=1G", "ERROR storage directive"),
        ("state-delete", "ERROR no key specified"),
    ],
)
def test_what_makes_no_sense(related: World, script: str, text: str) -> None:
    assert text in related.refused("app/0", script)


def test_a_hook_sees_its_own_secrets_before_they_are_committed(related: World) -> None:
    world = related
    script = """
        id=$(secret-add --owner unit --label draft --description why --rotate daily --expire 2h a=1)
        secret-get $id a
        secret-get --label draft a 2>/dev/null || true
        secret-set $id a=2 b=3
        secret-get $id --peek b
        secret-info-get --label draft --format json
        secret-remove $id
        secret-ids
    """
    first, second, info = world.out("app/0", script).split("\n")
    assert (first, second) == ("1", "3")
    described = next(iter(json.loads(info).values()))
    assert described["description"] == "why"
    assert described["rotation"] == "daily"
    assert {"rotates", "expiry"} < set(described)
    assert world.controller.secrets("m") == {}
