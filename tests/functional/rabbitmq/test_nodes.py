"""Users of nodes on a real broker: what each of them can do, and nothing else."""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import amqp10
import managed_rabbitmq
import pika
import pika.exceptions
import pytest
from daemons import wait_until
from pika.adapters.blocking_connection import BlockingChannel

import topology
from management import Management
from node_users import Changes, GatewayNodes, ensure_node_users

LIMITS = replace(managed_rabbitmq.LIMITS, nodes_max_bytes=20_000)
GATEWAYS = ("s.one", "s.two")


def password_hash(password: str) -> str:
    """Hash a password as RabbitMQ does: rabbit_password_hashing_sha256."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


class Site:
    """Two gateways, each with a user of its own, whose units ask for nodes."""

    def __init__(self, management: Management, vhost: str, open_channel: Callable[[str, str, str], BlockingChannel]):
        self.management = management
        self.vhost = vhost
        self._open = open_channel
        self._hashes: dict[str, dict[str, str]] = {key: {} for key in GATEWAYS}
        management.ensure_nodes(vhost, GATEWAYS, LIMITS)
        for key in GATEWAYS:
            user = self.user(key)
            management.ensure_user(user, "secret")
            management.ensure_permissions(vhost, user, topology.permissions({"publish"}, (), {key}))
            management.ensure_topic_permissions(vhost, user, topology.topic_permissions({"publish"}, {key}))

    @staticmethod
    def user(key: str) -> str:
        return key.replace(".", "-")

    def set(self, key: str, node: str, password: str | None) -> Changes:
        """Let a gateway ask for a node with this password, or not for it any more."""
        if password is None:
            del self._hashes[key][node]
        else:
            self._hashes[key][node] = password_hash(password)
        return ensure_node_users(
            self.management,
            [GatewayNodes(self.user(key), self.vhost, key, hashes) for key, hashes in self._hashes.items()],
        )

    def node(self, key: str, node: str, password: str) -> BlockingChannel:
        return self._open(self.vhost, f"{self.user(key)}.{node}", password)

    def gateway(self, key: str) -> BlockingChannel:
        return self._open(self.vhost, self.user(key), "secret")


@pytest.fixture
def site(management: Management, vhost: str, open_channel) -> Iterator[Site]:
    yield Site(management, vhost, open_channel)
    ensure_node_users(management, [])
    management.ensure_only_users(set())


def taken(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Take what is in a queue."""
    bodies: list[bytes] = []
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        bodies.append(body)
    return bodies


def is_confirmed(channel: BlockingChannel, key: str) -> bool:
    """Publish a kilobyte; tell whether the broker took it."""
    try:
        channel.basic_publish(topology.NODES_EXCHANGE, key, b"x" * 1000, mandatory=True)
    except pika.exceptions.NackError:
        return False
    return True


def test_a_node_logs_in_by_the_hash_and_publishes_to_its_own_keys(site: Site):
    assert site.set("s.one", "a", "password of a") == Changes(made=1, removed=0)
    node = site.node("s.one", "a", "password of a")
    for key in ("s.one.a", "s.one.a.temperature", "s.one.a.b.c"):
        node.basic_publish(topology.NODES_EXCHANGE, key, key.encode(), mandatory=True)
    assert taken(site.gateway("s.one"), "iot.nodes.s.one") == [b"s.one.a", b"s.one.a.temperature", b"s.one.a.b.c"]
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        site.node("s.one", "a", "password of b")


def test_a_node_can_do_nothing_else(site: Site):
    for node in ("a", "b"):
        site.set("s.one", node, "secret")
    own = "iot.node-commands.s-one.a"
    for attempt in (
        lambda channel: channel.basic_publish(topology.NODES_EXCHANGE, "s.one.b", b"forged"),
        lambda channel: channel.basic_publish(topology.NODES_EXCHANGE, "s.two.a", b"forged"),
        lambda channel: channel.basic_publish(topology.NODES_EXCHANGE, "s.one.ab", b"forged"),
        lambda channel: channel.basic_publish(topology.NODES_EXCHANGE, "s.one.a\n", b"forged"),
        lambda channel: channel.basic_publish(topology.NODES_EXCHANGE, "s.one", b"forged"),
        lambda channel: channel.basic_publish(topology.NODE_COMMANDS_EXCHANGE, "s.one.a", b"forged"),
        lambda channel: channel.basic_publish(topology.EXCHANGE, "s.one.a", b"forged"),
        lambda channel: channel.basic_publish("amq.topic", "s.one.a", b"forged"),
        lambda channel: channel.basic_publish("", own, b"past the exchange"),
        lambda channel: channel.basic_publish("", "iot.nodes.s.one", b"past the exchange"),
        lambda channel: channel.basic_get("iot.nodes.s.one"),
        lambda channel: channel.basic_get("iot.node-commands.s-one.b"),
        lambda channel: channel.queue_purge("iot.nodes.s.one"),
        lambda channel: channel.queue_declare(""),
        lambda channel: channel.queue_delete(own),
        lambda channel: channel.queue_bind(own, topology.NODE_COMMANDS_EXCHANGE, "#"),
        lambda channel: channel.queue_bind(own, topology.NODES_EXCHANGE, "#"),
        lambda channel: channel.exchange_declare("mine"),
    ):
        node = site.node("s.one", "a", "secret")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            attempt(node)
        assert refused.value.reply_code == 403
        node.connection.close()
    assert taken(site.gateway("s.one"), "iot.nodes.s.one") == []


def test_a_node_that_connects_without_end_is_refused_and_no_other(site: Site):
    for node in ("a", "b"):
        site.set("s.one", node, "secret")
    opened = [site.node("s.one", "a", "secret") for _ in range(10)]
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        site.node("s.one", "a", "secret")
    assert is_confirmed(site.node("s.one", "b", "secret"), "s.one.b")
    assert is_confirmed(opened[0], "s.one.a"), "those that it has go on"
    opened.pop().connection.close()
    wait_until(lambda: can_connect(site), 10, "room for another")
    with pytest.raises(pika.exceptions.AMQPError):
        _ = [opened[0].connection.channel() for _ in range(101)]


def can_connect(site: Site) -> bool:
    """Tell whether node a gets in once more."""
    try:
        site.node("s.one", "a", "secret")
    except pika.exceptions.AMQPConnectionError:
        return False
    return True


def test_a_further_routing_key_in_a_header_does_not_hide_who_published(site: Site):
    """RabbitMQ holds nobody to its keys in the headers CC and BCC: so a gateway looks at where the key begins."""
    site.set("s.one", "a", "secret")
    copies = pika.BasicProperties(headers={"CC": ["s.two.a", "s.one.b"], "BCC": ["s.two.b"]})
    site.node("s.one", "a", "secret").basic_publish(topology.NODES_EXCHANGE, "s.one.a", b"forged", copies)
    for key in GATEWAYS:
        method, _, body = site.gateway(key).basic_get(f"iot.nodes.{key}", auto_ack=True)
        assert (method.routing_key, body) == ("s.one.a", b"forged")
        assert taken(site.gateway(key), f"iot.nodes.{key}") == []


def test_a_node_takes_the_commands_to_it_and_a_gateway_gives_them_to_its_own_alone(site: Site):
    site.set("s.one", "a", "secret")
    site.set("s.two", "a", "secret")
    gateway = site.gateway("s.one")
    gateway.basic_publish(topology.NODE_COMMANDS_EXCHANGE, "s.one.a", b"on", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        gateway.basic_publish(topology.NODE_COMMANDS_EXCHANGE, "s.one.unknown", b"on", mandatory=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
        site.gateway("s.one").basic_publish(topology.NODE_COMMANDS_EXCHANGE, "s.two.a", b"on", mandatory=True)
    assert refused.value.reply_code == 403
    gateway.basic_publish(
        topology.NODE_COMMANDS_EXCHANGE, "s.one.a", b"late", pika.BasicProperties(expiration="1"), mandatory=True
    )
    queue = "iot.node-commands.s-one.a"
    assert gateway.queue_declare(queue, passive=True).method.consumer_count == 0
    time.sleep(0.1)
    assert taken(site.node("s.one", "a", "secret"), queue) == [b"on"], "the other has expired"
    assert taken(site.node("s.two", "a", "secret"), "iot.node-commands.s-two.a") == []


def test_a_node_that_is_withdrawn_is_gone_with_its_connection_and_its_queue(site: Site):
    for node in ("a", "b"):
        site.set("s.one", node, "secret")
    gone, other = site.node("s.one", "a", "secret"), site.node("s.one", "b", "secret")
    assert site.set("s.one", "a", None) == Changes(made=0, removed=1)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        gone.connection.sleep(10)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        site.node("s.one", "a", "secret")
    other.basic_publish(topology.NODES_EXCHANGE, "s.one.b", b"still here", mandatory=True)
    names = {queue.name for queue in site.management.queues(r"^iot\.node-commands\.") if queue.vhost == site.vhost}
    assert names == {"iot.node-commands.s-one.b"}


def test_a_new_password_cuts_off_who_has_the_former_and_keeps_the_commands(site: Site):
    site.set("s.one", "a", "former")
    former = site.node("s.one", "a", "former")
    site.gateway("s.one").basic_publish(topology.NODE_COMMANDS_EXCHANGE, "s.one.a", b"on", mandatory=True)
    assert site.set("s.one", "a", "new") == Changes(made=1, removed=1)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        former.connection.sleep(10)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        site.node("s.one", "a", "former")
    assert taken(site.node("s.one", "a", "new"), "iot.node-commands.s-one.a") == [b"on"]


def test_a_full_queue_refuses_and_takes_again_once_it_was_emptied(site: Site):
    site.set("s.one", "a", "secret")
    site.set("s.two", "a", "secret")
    node, other = site.node("s.one", "a", "secret"), site.node("s.two", "a", "secret")
    confirmed = 0
    while is_confirmed(node, "s.one.a"):
        confirmed += 1
        assert confirmed < 1000
    assert confirmed >= LIMITS.nodes_max_bytes // 1000
    assert is_confirmed(other, "s.two.a")
    assert len(taken(site.gateway("s.one"), "iot.nodes.s.one")) == confirmed, "what was confirmed, no more and no less"
    wait_until(lambda: is_confirmed(node, "s.one.a"), 10, "the queue takes again")


def test_hundreds_of_nodes_are_made_once(site: Site, monkeypatch: pytest.MonkeyPatch):
    hashes = {f"node-{number}": password_hash(str(number)) for number in range(300)}
    asked = [GatewayNodes("gateway", site.vhost, key, hashes) for key in GATEWAYS]
    assert ensure_node_users(site.management, asked) == Changes(made=300, removed=0)
    before = site.management.definitions()
    with monkeypatch.context() as patch:
        for name in ("declare", "delete_users", "delete_permissions"):
            patch.setattr(Management, name, lambda *_: pytest.fail("nothing is to change"))
        assert ensure_node_users(site.management, asked) == Changes(made=0, removed=0)
    assert site.management.definitions() == before
    fewer = [GatewayNodes("gateway", site.vhost, "s.two", {"node-7": hashes["node-7"]})]
    assert ensure_node_users(site.management, fewer) == Changes(made=0, removed=299)
    definitions = site.management.definitions()
    assert [
        (binding["destination"], binding["routing_key"])
        for binding in definitions["bindings"]
        if binding["source"] == topology.NODE_COMMANDS_EXCHANGE
    ] == [("iot.node-commands.gateway.node-7", "s.two.node-7")]


class TestAmqp10:
    """The broker's plugin, and a client that is not ours."""

    @pytest.fixture
    def who(self, broker, site: Site) -> tuple[int, str, str, str]:
        site.set("s.one", "a", "secret")
        site.set("s.one", "b", "secret")
        return broker.port, site.vhost, "s-one.a", "secret"

    @pytest.mark.parametrize(("form", "content_type"), [("string", ""), ("data", "application/senml+json")])
    def test_a_node_publishes_to_its_own_key(self, site: Site, who, form: str, content_type: str):
        for address in ("/exchange/iot.nodes/s.one.a", "/exchange/iot.nodes/s.one.a.temperature"):
            assert amqp10.send(*who, address, "21.5", form, content_type) == {"state": "accepted"}
        channel = site.gateway("s.one")
        method, properties, body = channel.basic_get("iot.nodes.s.one", auto_ack=True)
        assert method.routing_key == "s.one.a"
        assert properties.content_type == (content_type or None)
        assert b"21.5" in body
        assert len(taken(channel, "iot.nodes.s.one")) == 1

    @pytest.mark.parametrize(
        "address",
        [
            "/exchange/iot.nodes/s.one.b",
            "/exchange/iot.nodes/s.two.a",
            "/exchange/iot.telemetry/s.one.a",
            "/amq/queue/iot.nodes.s.one",
            "/queue/mine",
            "/topic/s.one.a",
        ],
    )
    def test_a_node_is_refused_elsewhere(self, site: Site, who, address: str):
        answer = amqp10.send(*who, address, "21.5")
        assert "unauthorized-access" in answer.get("error", ""), answer
        assert taken(site.gateway("s.one"), "iot.nodes.s.one") == []

    def test_a_node_takes_the_commands_to_it(self, site: Site, who):
        gateway = site.gateway("s.one")
        for node in ("a", "b"):
            gateway.basic_publish(
                topology.NODE_COMMANDS_EXCHANGE,
                f"s.one.{node}",
                f"to {node}".encode(),
                pika.BasicProperties(message_id="7", delivery_mode=2),
            )
        assert amqp10.receive(*who, "/amq/queue/iot.node-commands.s-one.a") == {
            "body": "to a",
            "id": "7",
            "subject": "s.one.a",
        }
        answer = amqp10.receive(*who, "/amq/queue/iot.node-commands.s-one.b")
        assert "unauthorized-access" in answer.get("error", ""), answer

    def test_a_node_that_is_withdrawn_is_cut_off(self, site: Site, who):
        with ThreadPoolExecutor(1) as background:
            waiting = background.submit(amqp10.receive, *who, "/amq/queue/iot.node-commands.s-one.a")
            gateway = site.gateway("s.one")
            wait_until(
                lambda: gateway.queue_declare("iot.node-commands.s-one.a", passive=True).method.consumer_count == 1,
                8,
                "the node's link",
            )
            site.set("s.one", "a", None)
            answer = waiting.result()
        assert "error" in answer, answer
        assert "nothing came" not in answer["error"], "the connection was closed"

    def test_nobody_and_who_has_another_password_are_refused(self, who):
        port, vhost, user, _ = who
        for name, password in ((user, "another"), ("", ""), ("guest", "guest")):
            answer = amqp10.send(port, vhost, name, password, "/exchange/iot.nodes/s.one.a", "21.5")
            assert "error" in answer, answer
