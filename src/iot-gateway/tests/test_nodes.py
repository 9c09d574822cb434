"""Who is let in, who is not, and what is remembered of it."""

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_gateway.errors import ConfigError
from iot_gateway.nodes import (
    Inbox,
    Node,
    Nodes,
    NotAllowedError,
    TooManyAttemptsError,
    UnknownNodeError,
    WrongCredentialError,
    credentials,
    file,
    throttle,
)
from iot_gateway.nodes.throttle import Throttle

SECRET = credentials.make("secret")


@pytest.fixture
def nodes() -> Nodes:
    return Nodes(
        {
            "node-1": Node("node-1", SECRET),
            "off": Node("off", SECRET, enabled=False),
            "coap-only": Node("coap-only", SECRET, protocols=frozenset({"coap"}), keys={"coap-psk": "00ff"}),
            "certificate": Node("certificate"),
        }
    )


def test_a_credential_fits_its_secret_alone():
    assert credentials.fits(SECRET, "secret")
    assert credentials.fits(SECRET, b"secret")
    assert not credentials.fits(SECRET, "Secret")
    assert credentials.make("secret") != SECRET


def test_the_format_is_mosquittos():
    salt = b"0123456789ab"
    digest = hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101)
    line = f"$7$101${b64encode(salt).decode()}${b64encode(digest).decode()}"
    assert credentials.is_credential(line)
    assert credentials.fits(line, "secret")


@pytest.mark.parametrize("text", ["", "plain", "$6$a$b", "$7$0$YQ==$YQ==", "$7$x$YQ==$YQ==", "$7$1$!$YQ==", "$7$1$$"])
def test_what_is_no_credential_fits_nothing(text: str):
    assert not credentials.is_credential(text)
    assert not credentials.fits(text, "")


@given(st.text(max_size=40))
def test_no_text_makes_the_reader_of_credentials_fail(text: str):
    credentials.is_credential("$7$" + text)


def test_a_node_is_let_in_with_its_secret_or_a_proof(nodes: Nodes):
    assert nodes.admit("mqtt", "node-1", "10.0.0.1", b"secret").name == "node-1"
    assert nodes.admit("mqtt", "certificate", "10.0.0.1").name == "certificate"
    assert nodes.admit("coap", "coap-only", "10.0.0.1").keys["coap-psk"] == "00ff"
    assert nodes.verify("node-1", b"secret")
    assert not nodes.verify("certificate", b"")
    assert not nodes.verify("nobody", b"")
    assert nodes.refused == 0


@pytest.mark.parametrize(
    ("name", "secret", "error"),
    [
        ("node-1", b"wrong", WrongCredentialError),
        ("node-1", b"", WrongCredentialError),
        ("certificate", b"", WrongCredentialError),
        ("nobody", b"secret", UnknownNodeError),
        ("off", b"secret", NotAllowedError),
        ("off", None, NotAllowedError),
        ("coap-only", b"secret", NotAllowedError),
    ],
)
def test_who_is_not_let_in(nodes: Nodes, name: str, secret: bytes | None, error: type[Exception]):
    with pytest.raises(error):
        nodes.admit("mqtt", name, "10.0.0.1", secret)
    assert nodes.refused == 1
    assert [stranger.name for stranger in nodes.inbox.strangers()] == (["nobody"] if name == "nobody" else [])


def test_an_address_that_fails_too_often_is_not_listened_to_but_for_nodes_that_were_there(nodes: Nodes):
    nodes.admit("mqtt", "node-1", "10.0.0.1", b"secret")
    for _ in range(throttle.FAILURES):
        with pytest.raises(WrongCredentialError):
            nodes.admit("mqtt", "node-1", "10.0.0.1", b"guess")
    with pytest.raises(TooManyAttemptsError):
        nodes.admit("mqtt", "node-1", "10.0.0.1", b"another guess")
    assert nodes.admit("mqtt", "node-1", "10.0.0.1", b"secret")
    with pytest.raises(WrongCredentialError):
        nodes.admit("mqtt", "node-1", "10.0.0.2", b"guess")


def test_the_throttle_forgives_with_time(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    made = Throttle(failures=2, per_second=0.1, addresses=2)
    made.failed("a")
    assert not made.blocks("a")
    made.failed("a")
    assert made.blocks("a")
    now += 11
    assert not made.blocks("a")
    made.failed("a")
    assert made.blocks("a")
    made.failed("b")
    made.failed("c")
    assert not made.blocks("a")


def test_neighbours_in_ipv6_are_one_address():
    made = Throttle(failures=1)
    made.failed("2001:db8::1")
    assert made.blocks("2001:db8::2")
    assert not made.blocks("2001:db8:1::1")
    made.failed("fe80::1%eth0")
    assert made.blocks("fe80::2%eth1")
    made.failed("no:address")
    assert made.blocks("no:address")


def test_the_inbox_keeps_the_latest_strangers(nodes: Nodes):
    inbox = Inbox(capacity=2)
    assert inbox.note("a", "mqtt", "10.0.0.1")
    assert not inbox.note("a", "mqtt", "10.0.0.2")
    inbox.note("b", "mqtt", "10.0.0.1")
    inbox.note("a", "mqtt", "10.0.0.3")
    inbox.note("c", "coap", "10.0.0.1")
    inbox.note("no name/at all", "mqtt", "10.0.0.1")
    assert [(each.name, each.address, each.count) for each in inbox.strangers()] == [
        ("c", "10.0.0.1", 1),
        ("a", "10.0.0.3", 3),
    ]
    assert inbox.unnameable == 1
    shown = inbox.strangers()[0].as_dict()
    assert (shown["name"], shown["protocol"], shown["count"]) == ("c", "coap", 1)


def test_a_listener_that_fails_keeps_no_other_from_learning_of_it(nodes: Nodes, caplog: pytest.LogCaptureFixture):
    told: list[set[str]] = []

    def fail(_: set[str]) -> None:
        raise RuntimeError("a fault that nobody foresaw")

    nodes.on_change(fail)
    nodes.on_change(told.append)
    nodes.replace({})
    assert len(told) == 1
    assert "nobody foresaw" in caplog.text


def test_nodes_that_went_or_changed_are_told_and_those_that_stay_are_not(nodes: Nodes):
    told: list[set[str]] = []
    end = nodes.on_change(told.append)
    nodes.admit("mqtt", "node-1", "10.0.0.1", b"secret")
    with pytest.raises(UnknownNodeError):
        nodes.admit("mqtt", "new", "10.0.0.1", b"x")
    former = {name: nodes.lookup(name) for name in ("node-1", "off", "coap-only", "certificate")}
    same = {name: node for name, node in former.items() if node is not None}
    nodes.replace({**same, "new": Node("new")})
    assert told == []
    assert nodes.inbox.strangers() == []
    nodes.replace({"node-1": Node("node-1", credentials.make("other")), "off": same["off"]})
    assert told == [{"node-1", "coap-only", "certificate", "new"}]
    assert not nodes.verify("node-1", b"secret")
    assert nodes.verify("node-1", b"other")
    end()
    nodes.replace({})
    assert len(told) == 1
    assert len(nodes) == 0


def test_the_file_is_read_as_it_was_written(tmp_path: Path):
    path = tmp_path / "nodes.json"
    written = [
        Node("node-2", SECRET, protocols=frozenset({"mqtt", "coap"}), keys={"coap-psk": "00"}),
        Node("node-1", enabled=False),
    ]
    path.write_text(file.text(written))
    assert file.read(path) == {node.name: node for node in written}
    assert file.text(reversed(written)) == path.read_text()
    nodes = Nodes.from_file(path)
    assert nodes.status()["known"] == 2
    path.write_text('{"nodes": {}}')
    nodes.replace(Nodes.read(path))
    assert nodes.lookup("node-1") is None
    assert len(Nodes.from_file(None)) == 0
    nodes.replace(Nodes.read(None))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no", "JSON"),
        ('{"nodes": {"a b": {}}}', "a b"),
        ('{"nodes": {"a": {"credential": "plain-secret"}}}', "credential"),
        ('{"nodes": {"a": {"colour": "red"}}}', "colour"),
    ],
)
def test_a_file_that_can_not_be_used(tmp_path: Path, text: str, reason: str):
    path = tmp_path / "nodes.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason) as raised:
        file.read(path)
    assert "plain-secret" not in str(raised.value)


def test_without_the_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        file.read(tmp_path / "none")
    with pytest.raises(ValueError, match="a/b"):
        file.text([Node("a/b")])
