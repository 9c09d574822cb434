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


def test_only_secrets_take_a_file_by_its_key(related: World) -> None:
    related.out("db/0", "juju-log 'as in key#file=/no/such'; relation-set -r db:1 odd#file=/no/such")
    assert "as in key#file=/no/such" in related.log("INFO")
    assert related.out("app/0", "relation-get -r 1 odd#file db/0") == "/no/such"


@pytest.mark.parametrize(
    ("unit", "script", "text"),
    [
        ("db/1", "relation-set -r db:1 --app a=b", "ERROR cannot write relation settings"),
        ("db/1", "relation-get -r db:1 --app - db", "ERROR permission denied"),
        (
            "app/0",
            "relation-get -r 1 - db/7",
            'ERROR cannot read settings for unit "db/7" in relation "app:db db:db": settings not found',
        ),
        ("db/0", "relation-get -r 1 - other/1", "ERROR permission denied"),
        ("db/0", "relation-get -r 1 --app - other", "ERROR permission denied"),
        ("app/0", "relation-list --relation 99", 'ERROR invalid value "99" for option --relation: relation not found'),
        ("app/0", "relation-list -r 99", 'ERROR invalid value "99" for option -r: relation not found'),
        ("app/0", "relation-get -r single:1 - db/0", "relation not found"),
        ("app/0", "relation-get -r nonsense", "invalid relation id"),
        ("app/0", "relation-list", "ERROR no relation id specified"),
        ("app/0", "relation-set -r 1 nonsense", 'ERROR expected "key=value", got "nonsense"'),
        ("app/0", "relation-get --nonsense", "ERROR option provided but not defined: --nonsense"),
        ("app/0", "network-get nope", 'ERROR no network config found for binding "nope"'),
        ("app/0", "network-get db -r 99", 'ERROR invalid value "99" for option -r: relation not found'),
        (
            "db/1",
            "status-set --application=true active",
            "ERROR this unit is not the leader",
        ),
        ("db/1", "status-get --application=true", "ERROR finding application status: this unit is not the leader"),
        ("app/0", "status-set fine", 'ERROR invalid status "fine"'),
        ("app/0", "action-get", "ERROR not running an action"),
        ("app/0", "open-port 70000", "ERROR port range bounds must be between 0 and 65535, got 70000-70000"),
        ("app/0", "open-port 20-10/tcp", "ERROR invalid port range 20-10/tcp"),
        ("app/0", "open-port 10/sctp", "ERROR invalid protocol"),
        (
            "app/0",
            "open-port 10-20; open-port 15",
            'ERROR cannot open 15/tcp (unit "app/0"): port range conflicts with',
        ),
        ("app/0", "credential-get", "ERROR cannot access cloud credentials: permission denied"),
        ("app/0", "payload-register a b c", 'ERROR payload "b" not found in metadata.yaml'),
        (
            "app/0",
            "payload-register kvm monitoring c",
            'ERROR incorrect type "kvm" for payload "monitoring", expected "docker"',
        ),
        ("app/0", "payload-register a b", "ERROR missing required arguments"),
        ("app/0", "payload-status-set monitoring c well", 'ERROR status "well" not supported; expected one of ["runn'),
        ("app/0", "payload-unregister monitoring", "ERROR missing required arguments"),
        ("app/0", "add-metric", "ERROR no metrics specified"),
        ("app/0", "add-metric one", 'ERROR invalid metrics: expected "key=value", got "one"'),
        ("app/0", "add-metric one=1", "ERROR cannot record metric: metrics not allowed in this context"),
        ("db/1", "leader-set a=b", "ERROR cannot write leadership settings: cannot write settings: not the leader"),
        ("db/0", "leader-get a=b", 'ERROR invalid key "a=b"'),
        ("db/0", "unit-get", "ERROR no setting specified"),
        ("db/0", "unit-get name", 'ERROR unknown setting "name"'),
        (
            "app/0",
            "storage-get -s data/9",
            'ERROR invalid value "data/9" for option -s: storage attachment data/9:app/0 not found',
        ),
        ("app/0", "storage-get -s data", 'ERROR invalid value "data" for option -s: invalid storage ID "data"'),
        ("app/0", "resource-get", "ERROR missing required resource name"),
        ("app/0", "resource-get nope", "ERROR could not download resource: resource#app/nope not found"),
        ("app/0", "juju-log", "ERROR no message specified"),
        ("app/0", "config-get --format=xml", 'unknown format "xml"'),
        ("app/0", "relation-set -r 1 --file /no/such", "ERROR open /no/such: no such file or directory"),
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
    assert whole["application-status"]["units"]["db/0"]["status"] == "active"
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
    assert 'port: "1"' in (world.directory / "seen").read_text()
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
        (
            "relation-list -r 1 --app=perhaps",
            'ERROR invalid boolean value "perhaps" for option --app: strconv.ParseBool',
        ),
        ("relation-list -r 1 db/0 db/1", 'ERROR unrecognized args: ["db/0" "db/1"]'),
        ("relation-ids", "ERROR no endpoint name specified"),
        ("relation-get -r 1 - nobody", 'ERROR expected unit name, got application name "nobody"'),
        ("relation-get -r 1 - No/1", 'ERROR invalid unit name "No/1"'),
        ("relation-get -r 1", "ERROR no unit or application specified"),
        ("relation-get -r 1 --app", "ERROR no unit or application specified"),
        ("printf '[1]' | relation-set -r 1 --file -", "line 1: cannot unmarshal !!seq into map[string]string"),
        ("printf '{a: [1]}' | relation-set -r 1 --file -", "line 1: cannot unmarshal !!seq into string"),
        ("printf '{a' | relation-set -r 1 --file -", "ERROR yaml: line 1: expected"),
        ("printf '\\377' | relation-set -r 1 --file -", "ERROR yaml: invalid UTF-8"),
        ("open-port", "ERROR no port or range specified"),
        ("open-port 10/icmp", 'doesn\'t support any ports; got "10"'),
        ("open-port ten", 'ERROR invalid port "ten": strconv.Atoi: parsing "ten": invalid syntax'),
        ("open-port 1-2-3", 'ERROR invalid port range "1-2-3"'),
        (f"open-port {'9' * 30}", "value out of range"),
        ("open-port 10-20; close-port 15", "ERROR cannot close 15/tcp"),
        ("secret-add abc", 'ERROR key value "abc" not valid'),
        ("secret-add ab=1", 'ERROR key "ab" not valid'),
        ("secret-add Abc=1", 'ERROR key "Abc" not valid'),
        ("secret-add abc#hex=1", 'ERROR key "abc#hex" not valid'),
        ("secret-add abc#file=/no/such", "ERROR open /no/such: no such file or directory"),
        ("printf '' | secret-add --file -", "ERROR empty secret value not valid"),
        ("secret-add", "ERROR missing secret value or filename"),
        ("secret-add abc#base64=%", "ERROR illegal base64 data"),
        ("secret-add abc=b --owner nobody", 'ERROR secret owner "nobody" not valid'),
        ("secret-add abc=b --expire soon", 'ERROR expire time or duration "soon" not valid'),
        ("secret-add abc=b --expire 1d", 'ERROR expire time or duration "1d" not valid'),
        ("secret-add abc=b --expire=-1h", 'ERROR negative expire duration "-1h" not valid'),
        (f"secret-add abc=b --expire {'9' * 400}h", "not valid"),
        ("secret-get secret:short", 'ERROR secret URI "secret:short" not valid'),
        ("secret-get", "ERROR require either a secret URI or label"),
        ("secret-info-get", "ERROR require either a secret URI or label"),
        ("secret-info-get --label gone", 'ERROR secret "gone" not found'),
        (
            "secret-info-get --label one secret:9m4e2mr0ui3e8a215n4g",
            "ERROR specify either a secret URI or label but not both",
        ),
        (
            "secret-get --format=smart --label a",
            'ERROR invalid value "smart" for option --format: unknown format "smart"',
        ),
        ("secret-set", "ERROR missing secret URI"),
        ("secret-remove", "ERROR missing secret URI"),
        ("secret-grant", "ERROR missing secret URI"),
        ("secret-revoke", "ERROR missing secret URI"),
        ("secret-grant secret:9m4e2mr0ui3e8a215n4g -r 1", 'ERROR secret "9m4e2mr0ui3e8a215n4g" not found'),
        (
            "secret-revoke secret:9m4e2mr0ui3e8a215n4g --app a --unit b/0",
            "ERROR specify only one of application or unit",
        ),
        ("secret-revoke secret:9m4e2mr0ui3e8a215n4g -r 1 --app a", "ERROR do not specify both relation and app"),
        ("secret-get --label a --peek --refresh", "specify one of --peek or --refresh but not both"),
        ("secret-grant $(secret-add abc=b)", "ERROR no relation id specified"),
        (
            "secret-grant $(secret-add abc=b) -r 1 --unit app/0",
            'ERROR cannot specify unit "app/0" in relation to application "db"',
        ),
        ("secret-grant $(secret-add abc=b) -r 1 --unit app", 'ERROR unit "app" not valid'),
        (
            "id=$(secret-add abc=b); secret-grant $id -r 1 --unit db/0; secret-grant $id -r 1",
            "ERROR any unit level grants need to be revoked before granting access to the corresponding application",
        ),
        ("secret-revoke $(secret-add abc=b)", "ERROR missing relation or application or unit"),
        ("secret-remove $(secret-add abc=b) --revision x", 'invalid value "x" for option --revision: strconv.ParseInt'),
        ("secret-get $(secret-add abc=b) nope", 'ERROR secret key value "nope" not found'),
        (
            "secret-add --label twice abc=b >/dev/null; secret-add --label twice abc=b",
            'ERROR secret with label "twice" already exists',
        ),
        ("storage-get", "ERROR no storage instance specified"),
        ("storage-get -s data/0 size", 'ERROR invalid storage attribute "size"'),
        ("storage-add", "ERROR storage add requires a storage directive"),
        ("storage-add data=1G", 'ERROR only count can be specified for "data"'),
        ("storage-add data=pool,1", 'ERROR only count can be specified for "data"'),
        ("storage-add data=0", 'cannot parse count: count must be greater than zero, got "0"'),
        ("storage-add data=", "storage constraints require at least one field to be specified"),
        ("storage-add data data", 'ERROR storage "data" specified more than once'),
        ("storage-add =1", 'ERROR expected "name=constraints" or "name", got "=1"'),
        ("config-get --all port", 'ERROR cannot use argument --all together with key "port"'),
        ("state-get --strict nope", 'ERROR "nope" not found'),
        (f"state-set {'k' * 257}=v", "ERROR max allowed key length (256) exceeded"),
        (
            "head -c 65537 /dev/zero | tr '\\0' x | sed 's/^/{a: /; s/$/}/' | state-set --file -",
            "max allowed value length",
        ),
        ("relation-set -r 1 a=1 a=2", 'ERROR key "a" specified more than once'),
        ("network-get db --primary-address --bind-address", "ERROR --primary-address must be the only flag specified"),
        ("network-get", "ERROR no arguments specified"),
        ("network-get ''", "ERROR no binding name specified"),
        ("status-set", "ERROR invalid args, require <status> [message]"),
        ("application-version-set", "ERROR no version specified"),
    ],
)
def test_what_makes_no_sense(related: World, script: str, text: str) -> None:
    assert text in related.refused("app/0", script)


def test_a_hook_sees_its_own_secrets_before_they_are_committed(related: World) -> None:
    world = related
    script = """
        id=$(secret-add --owner unit --label draft --description why --rotate daily --expire 2h abc=one)
        secret-get $id abc
        secret-get --label draft
        secret-set $id abc=two bcd=three
        secret-get $id bcd
        secret-info-get --label draft --format json
        secret-remove $id
        secret-ids
    """
    first, second, third, info = world.out("app/0", script).split("\n")
    assert (first, second, third) == ("one", "abc: one", "three")
    described = next(iter(json.loads(info).values()))
    assert described["description"] == "why"
    assert described["rotation"] == "daily"
    assert "expiry" in described
    assert "rotates" not in described, "no time is set before the secret is committed"
    assert world.controller.secrets("m") == {}


@pytest.mark.parametrize(
    ("unit", "script", "text"),
    [
        ("app/0", "storage-add nope", 'adding "nope" storage to app/0: charm storage "nope" not found'),
        (
            "app/0",
            "storage-add data=9",
            'adding "data" storage to app/0: attaching 9 storage instances brings the total to',
        ),
        ("app/0", "open-port 10 --endpoints nope", 'open port range: endpoint "nope" for unit "app/0" not found'),
        ("app/0", "close-port 10 --endpoints nope", 'close port range: endpoint "nope" for unit "app/0" not found'),
        ("app/0", "secret-set secret:9m4e2mr0ui3e8a215n4g --label x", 'secret "9m4e2mr0ui3e8a215n4g" not found'),
        ("app/0", "secret-remove secret:9m4e2mr0ui3e8a215n4g", 'secret "9m4e2mr0ui3e8a215n4g" not found'),
        ("app/0", "secret-revoke secret:9m4e2mr0ui3e8a215n4g --app db", 'secret "9m4e2mr0ui3e8a215n4g" not found'),
    ],
)
def test_what_is_refused_when_the_hook_ends_undoes_all_of_it(related: World, unit: str, script: str, text: str) -> None:
    code, _, err = related.exec(unit, f"set -e; state-set kept=yes; {script}")
    assert (code, err.strip()[: len(text)]) == (1, text)
    assert related.out(unit, "state-get kept") == ""


def test_a_hook_whose_changes_are_refused_has_failed_and_is_tried_again(related: World) -> None:
    world = related
    world.behave("app-0", "config-changed", "storage-add nope")
    world.controller.set_config("m", "app", {"port": 5})
    world.until(lambda: world.units()["app/0"]["workload-status"]["current"] == "error", "an error")
    assert 'cannot apply changes: adding "nope" storage to app/0: charm storage "nope" not found' in world.log("ERROR")
    world.forget("app-0", "config-changed")
    world.settle()
    world.until(lambda: world.units()["app/0"]["workload-status"]["current"] != "error", "no error")


def test_settings_of_the_leader_are_shared_at_once(related: World) -> None:
    world = related
    world.clear()
    code, _, _ = world.exec("db/0", "leader-set colour=blue shape=round; leader-set shape=; exit 3")
    assert code == 3
    assert world.out("db/1", "leader-get") == "colour: blue"
    assert world.out("db/1", "leader-get colour; leader-get nope; leader-get - --format=json") == (
        'blue\n{"colour":"blue"}'
    )
    world.settle()
    assert set(world.events("db/1")) == {"leader-settings-changed"}
    assert world.events("db/0") == []


def test_what_the_cloud_is_to_an_application_that_is_trusted(related: World) -> None:
    related.controller.trust("m", "app", True)
    found = json.loads(related.out("app/0", "credential-get --format=json"))
    assert found == {"type": "manual", "name": "tabletop", "credential": {"auth-type": "empty", "redacted": None}}
    related.controller.trust("m", "app", False)


def test_options_are_parsed_as_go_parses_them(related: World) -> None:
    world = related
    assert world.out("app/0", "relation-ids db --format=json -o ids.json; cat ids.json") == '["db:1"]'
    assert world.out("app/0", "relation-list -r1 --app") == "db"
    assert world.out("app/0", "relation-list -r=1 --app=T --format yaml") == "db"
    assert world.out("app/0", "juju-log -lERROR --format=json hello 2>&1") == (
        '--format flag deprecated for command "juju-log"'
    )
    assert "hello" in world.log("ERROR")
    assert world.out("app/0", "open-port --format=json 80 2>&1; close-port 80") == (
        '--format flag deprecated for command "open-port"'
    )
    world.out("app/0", "juju-log -l loud strange")
    assert 'WARNING unit.app/0.juju-log Specified log level of "loud" is not valid' in world.log("WARNING")
    assert "INFO unit.app/0.juju-log strange" in world.log("INFO")


def test_json_and_yaml_are_written_as_go_writes_them(related: World) -> None:
    world = related
    world.out(
        "app/0",
        """state-set --file - <<'END'
b: "<a&b>"
a: 1.0
c: yes
d: ~
e: "two\\nlines"
END
""",
    )
    assert world.out("app/0", "state-get --format=json") == (
        '{"a":"1.0","b":"\\u003ca\\u0026b\\u003e","c":"yes","d":"","e":"two\\nlines"}'
    )
    assert world.out("app/0", "state-get - --format=yaml") == (
        'a: "1.0"\nb: <a&b>\nc: "yes"\nd: ""\ne: |-\n  two\n  lines'
    )
    world.out("app/0", "state-delete; for key in a b c d e; do state-delete $key; done")
    assert world.out("app/0", "state-get --format=json") == "{}"
    world.controller.set_config("m", "app", {"ratio": 2.0})
    assert world.out("app/0", "config-get ratio --format=json; config-get ratio; config-get switch") == "2\n2\nFalse"


def test_network_get_of_several_kinds_and_in_yaml(related: World) -> None:
    world = related
    assert json.loads(world.out("db/0", "network-get db --bind-address --egress-subnets --format=json")) == {
        "bind-address": "127.0.0.10",
        "egress-subnets": ["127.0.0.10/32"],
    }
    assert world.out("db/0", "network-get db --primary-address; unit-get public-address") == "127.0.0.10\n127.0.0.10"
    text = world.out("db/0", "network-get db")
    assert "macaddress:" in text
    assert "address: 127.0.0.10" in text
    assert "macaddress" not in world.out("db/0", "network-get db --format=json")


def test_ports_of_endpoints_and_of_neighbours(related: World) -> None:
    world = related
    world.out("db/0", "open-port 80; open-port 80/tcp --endpoints db,other; open-port 90-99/udp; open-port icmp")
    assert json.loads(world.out("db/0", "opened-ports --endpoints --format=json")) == [
        "icmp (*)",
        "80/tcp (*)",
        "90-99/udp (*)",
    ]
    world.out("db/0", "close-port 80")
    assert world.out("db/0", "opened-ports --endpoints") == "icmp (*)\n80/tcp (db, other)\n90-99/udp (*)"
    world.out("db/0", "close-port 80 --endpoints db,other; close-port icmp; close-port 90-99/udp")
    assert world.out("db/0", "opened-ports --format=json") == "[]"
