"""What nodes are given, and what is known of their coming and going."""

import base64
import hashlib
import time

import pytest
import zmq

from iot_gateway.nodes import Node, Nodes, NotAllowedError, WrongCredentialError, file
from iot_gateway.nodes.presence import Presence
from iot_gateway.nodes.provisioning import Given, ProvisioningError, provision, rotate


def test_a_password_is_shown_and_its_hash_kept():
    made = provision("kitchen", ["password"], Given())
    assert made.node.protocols == {"mqtt"}
    assert made.shown["username"] == "kitchen"
    assert made.shown["password"] not in file.text([made.node])
    nodes = Nodes({"kitchen": made.node})
    assert nodes.admit("mqtt", "kitchen", "10.0.0.9", made.shown["password"].encode()) == made.node


def test_a_key_pair_is_made_or_the_public_key_taken():
    made = provision("kitchen", ["curve"], Given())
    assert zmq.curve_public(made.shown["secret-key"].encode()).decode() == made.shown["public-key"]
    assert made.node.keys == {"zeromq-public-key": made.shown["public-key"]}
    assert made.node.credential == ""
    taken = provision("cellar", ["curve"], Given(public_key=made.shown["public-key"]))
    assert "secret-key" not in taken.shown
    assert taken.node.keys == made.node.keys


def test_oscore_keys_are_those_of_the_coap_listener():
    made = provision("kitchen", ["password", "oscore"], Given())
    assert made.node.protocols == {"mqtt", "coap"}
    assert made.shown.keys() == {"username", "password", "oscore-id", "oscore-secret", "oscore-salt"}
    assert made.node.keys["oscore-secret"] == made.shown["oscore-secret"]


def test_a_certificate_s_common_name_may_be_another():
    made = provision("kitchen", ["certificate"], Given(common_name="kitchen.example"))
    nodes = Nodes({"kitchen": made.node, "cellar": provision("cellar", ["certificate"], Given()).node})
    assert nodes.certified("kitchen.example") == "kitchen"
    assert nodes.certified("cellar") == "cellar"
    assert nodes.certified("nobody") == "nobody"
    with pytest.raises(NotAllowedError, match="another name than 'kitchen'"):
        nodes.certified("kitchen")
    assert nodes.refused == 1


@pytest.mark.parametrize(
    ("name", "kinds", "given", "protocols", "reason"),
    [
        ("a b", ["password"], Given(), [], r"name='a b'"),
        ("a", [], Given(), [], "credentials='': one or more of password, certificate, curve, oscore"),
        ("a", ["password", "password"], Given(), [], "each once"),
        ("a", ["token"], Given(), [], "credentials='token'"),
        ("a", ["password"], Given(), ["smtp"], "protocols='smtp': must be of mqtt, coap"),
        ("a", ["curve"], Given(), ["mqtt"], "credentials of kind curve are for zeromq"),
        ("a", ["password"], Given(public_key="x"), [], "does not name curve"),
        ("a", ["password"], Given(common_name="x"), [], "does not name certificate"),
        ("a", ["certificate"], Given(common_name="x" * 65), [], "at most 64"),
        ("a", ["curve"], Given(public_key="x"), [], "no CURVE key"),
        ("a", ["curve"], Given(public_key="ä" * 40), [], "no CURVE key"),
        ("a", ["curve"], Given(public_key="0" * 35), [], "no CURVE key"),
    ],
)
def test_what_can_not_be_is_told(name: str, kinds: list[str], given: Given, protocols: list[str], reason: str):
    with pytest.raises(ProvisioningError, match=reason):
        provision(name, kinds, given, protocols)


def test_rotation_keeps_all_but_the_credentials():
    first = provision("kitchen", ["password", "curve"], Given(), ["mqtt", "zeromq", "coap"])
    node = Node("kitchen", first.node.credential, enabled=False, protocols=first.node.protocols, keys=first.node.keys)
    second = rotate(node, Given())
    assert (second.node.enabled, second.node.protocols) == (False, first.node.protocols)
    assert second.shown.keys() == first.shown.keys()
    assert not {*second.shown.values()} & {first.shown["password"], first.shown["secret-key"]}
    with pytest.raises(ProvisioningError, match="its authority issues another"):
        rotate(Node("cellar"), Given())
    with pytest.raises(ProvisioningError, match="no credentials of kind curve"):
        rotate(Node("cellar", node.credential), Given(public_key="x"))


def test_presence():
    presence = Presence()
    before = time.time()
    presence.seen("a", "mqtt", "10.0.0.9")
    presence.arrived("a", "mqtt")
    presence.arrived("a", "mqtt")
    presence.left("a", "mqtt")
    assert presence.of("a")["connected"] == ["mqtt"]
    presence.left("a", "mqtt")
    assert presence.of("a")["connected"] == []
    assert presence.of("a")["last_seen"] >= round(before, 3)
    assert (presence.of("a")["protocol"], presence.of("a")["address"]) == ("mqtt", "10.0.0.9")
    assert presence.of("b") == {"connected": [], "last_seen": 0.0, "protocol": "", "address": ""}
    presence.keep(set())
    presence.left("a", "mqtt")
    assert presence.of("a")["address"] == ""


def test_the_nodes_tell_who_came():
    made = provision("kitchen", ["password"], Given())
    nodes = Nodes({"kitchen": made.node})
    with pytest.raises(WrongCredentialError):
        nodes.admit("mqtt", "kitchen", "10.0.0.9", b"wrong")
    assert nodes.states()["kitchen"]["address"] == ""
    nodes.admit("mqtt", "kitchen", "10.0.0.9", made.shown["password"].encode())
    assert nodes.states()["kitchen"]["address"] == "10.0.0.9"
    nodes.replace({})
    assert nodes.states() == {}


def test_the_broker_s_hash_of_a_password_is_kept():
    made = provision("kitchen", ["amqp"], Given())
    assert made.node.protocols == {"amqp"}
    assert made.shown.keys() == {"amqp-password"}
    assert made.node.credential == ""
    raw = base64.b64decode(made.node.keys["amqp-password-hash"])
    assert raw[4:] == hashlib.sha256(raw[:4] + made.shown["amqp-password"].encode()).digest()
    again = rotate(made.node, Given())
    assert again.shown["amqp-password"] != made.shown["amqp-password"]
    assert again.node.keys["amqp-password-hash"] != made.node.keys["amqp-password-hash"]
