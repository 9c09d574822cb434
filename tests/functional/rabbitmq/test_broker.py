import dataclasses
import time
from collections.abc import Callable

import pika
import pika.exceptions
import pytest
from daemons import wait_until
from managed_rabbitmq import LIMITS
from pika.adapters.blocking_connection import BlockingChannel

import smoke
import topology
from management import Management, ManagementError, UnauthorizedError

Open = Callable[[str, str, str], BlockingChannel]


def user(management: Management, vhost: str, name: str, *access: topology.Access) -> tuple[str, str, str]:
    management.ensure_user(name, "secret")
    management.ensure_permissions(vhost, name, topology.permissions(access))
    return vhost, name, "secret"


def queue(management: Management, vhost: str, name: str):
    return next(found for found in management.queues() if (found.vhost, found.name) == (vhost, name))


def test_declaring_again_changes_nothing(management: Management, vhost: str):
    assert not management.ensure_vhost(vhost, LIMITS)
    kinds = {found.name: found.type for found in management.queues() if found.vhost == vhost}
    assert kinds == topology.QUEUES


def test_limits_change_while_the_broker_runs(management: Management, vhost: str):
    other = dataclasses.replace(LIMITS, delivery_limit=5, stream_max_bytes=40_000_000, stream_max_age="2h")
    assert management.ensure_vhost(vhost, other)
    assert not management.ensure_vhost(vhost, other)


def test_a_queue_of_another_kind_is_named(broker, management: Management, open_channel: Open):
    vhost = "other-kinds"
    management._request("PUT", f"vhosts/{vhost}", {})
    channel = open_channel(vhost, broker.USER, broker.PASSWORD)
    channel.queue_declare(topology.QUEUE, durable=True)  # a classic queue
    with pytest.raises(ManagementError, match=r"queues/other-kinds/iot\.telemetry.*inequivalent arg 'x-queue-type'"):
        management.ensure_vhost(vhost, LIMITS)


def test_a_batch_reaches_the_queue_and_the_stream(management: Management, vhost: str, open_channel: Open):
    publisher = open_channel(*user(management, vhost, "pub-1", "publish"))
    for number in range(5):
        publisher.basic_publish(
            topology.EXCHANGE,
            "site-1.gateway-0",
            b"%d" % number,
            pika.BasicProperties(delivery_mode=2, content_encoding="gzip"),
            mandatory=True,
        )
    consumer = open_channel(*user(management, vhost, "con-1", "consume"))
    bodies = []
    for method, _, body in consumer.consume(topology.QUEUE, inactivity_timeout=5):
        bodies.append(body)
        consumer.basic_ack(method.delivery_tag)
        if len(bodies) == 5:
            break
    consumer.cancel()
    assert bodies == [b"%d" % number for number in range(5)]
    consumer.basic_qos(prefetch_count=10)
    streamed = []
    for method, _, body in consumer.consume(
        topology.STREAM, inactivity_timeout=5, arguments={"x-stream-offset": "first"}
    ):
        streamed.append(body)
        consumer.basic_ack(method.delivery_tag)
        if len(streamed) == 5:
            break
    assert streamed == bodies, "reading the queue takes nothing from the stream"


def test_a_publisher_can_do_nothing_else(management: Management, vhost: str, open_channel: Open):
    who = user(management, vhost, "pub-2", "publish")
    open_channel(*who).basic_publish(topology.DEAD_LETTER_EXCHANGE, "", b"bad payload", mandatory=True)
    for attempt in (
        lambda channel: channel.basic_get(topology.QUEUE),
        lambda channel: channel.queue_declare("mine"),
        lambda channel: channel.queue_delete(topology.QUEUE),
        lambda channel: channel.queue_purge(topology.QUEUE),
        lambda channel: channel.exchange_declare("mine"),
        lambda channel: channel.basic_publish("", topology.QUEUE, b"past the exchange", mandatory=True),
        lambda channel: channel.basic_publish("amq.topic", "a", b"elsewhere"),
    ):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            attempt(open_channel(*who))
        assert refused.value.reply_code == 403


def test_a_consumer_can_do_nothing_else(management: Management, vhost: str, open_channel: Open):
    who = user(management, vhost, "con-2", "consume")
    open_channel(*who).queue_declare(topology.QUEUE, passive=True)
    for attempt in (
        lambda channel: channel.basic_publish(topology.EXCHANGE, "a", b"forged", mandatory=True),
        lambda channel: channel.basic_publish("", topology.QUEUE, b"forged", mandatory=True),
        lambda channel: channel.queue_delete(topology.QUEUE),
        lambda channel: channel.queue_bind("iot.dead-letters", topology.EXCHANGE, "#"),
        lambda channel: channel.exchange_declare("mine"),
    ):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            attempt(open_channel(*who))
        assert refused.value.reply_code == 403


def test_what_is_returned_too_often_becomes_a_dead_letter(management: Management, vhost: str, open_channel: Open):
    open_channel(*user(management, vhost, "pub-3", "publish")).basic_publish(topology.EXCHANGE, "a", b"poison")
    consumer = open_channel(*user(management, vhost, "con-3", "consume"))
    returned = 0
    for method, _, _ in consumer.consume(topology.QUEUE, inactivity_timeout=3):
        if method is None:
            break
        returned += 1
        consumer.basic_nack(method.delivery_tag, requeue=True)
    consumer.cancel()
    assert returned == LIMITS.delivery_limit + 1

    def dead() -> tuple[object, object, bytes | None]:
        return consumer.basic_get(topology.DEAD_LETTER_QUEUE, auto_ack=True)

    deadline = time.monotonic() + 10
    while (found := dead())[2] is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert found[2] == b"poison"
    assert found[1].headers["x-death"][0]["reason"] == "delivery_limit"


def test_commands_go_to_the_gateway_that_they_are_for(management: Management, vhost: str, open_channel: Open):
    assert management.ensure_commands(vhost, ["s.one", "s.two"], LIMITS)
    assert not management.ensure_commands(vhost, ["s.two"], LIMITS)
    management.ensure_user("gateway-one", "secret")
    management.ensure_permissions(vhost, "gateway-one", topology.permissions({"publish"}, ["s.one"]))
    giver = open_channel(*user(management, vhost, "panel", "command"))
    giver.basic_publish(topology.COMMANDS_EXCHANGE, "s.one", b"for one", mandatory=True)
    giver.basic_publish(topology.COMMANDS_EXCHANGE, "s.two", b"for two", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        giver.basic_publish(topology.COMMANDS_EXCHANGE, "s.three", b"for nobody", mandatory=True)
    taker = open_channel(vhost, "gateway-one", "secret")
    assert taker.basic_get("iot.commands.s.one", auto_ack=True)[2] == b"for one"
    for attempt in (
        lambda channel: channel.basic_get("iot.commands.s.two"),
        lambda channel: channel.basic_get(topology.QUEUE),
        lambda channel: channel.basic_publish(topology.COMMANDS_EXCHANGE, "s.two", b"forged", mandatory=True),
        lambda channel: channel.queue_delete("iot.commands.s.one"),
    ):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            attempt(open_channel(vhost, "gateway-one", "secret"))
        assert refused.value.reply_code == 403
    assert queue(management, vhost, "iot.commands.s.two").type == "quorum"


def test_removing_a_user_closes_its_connections_and_spares_others(
    broker, management: Management, vhost: str, open_channel
):
    who = user(management, vhost, "gone", "publish")
    channel = open_channel(*who)
    assert "gone" in management.ensure_only_users(set())
    assert management.whoami() == broker.USER, "a user that the charm did not make stays"
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        channel.connection.sleep(10)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        open_channel(*who)


def test_a_new_password_is_noticed_and_an_old_one_is_not_written_again(management: Management):
    assert management.ensure_user("someone", "first")
    assert not management.ensure_user("someone", "first")
    assert management.ensure_user("someone", "second")
    assert not management.ensure_user("someone", "second")


def test_an_open_connection_survives_a_new_password(management: Management, vhost: str, open_channel: Open):
    who = user(management, vhost, "rotated", "publish")
    channel = open_channel(*who)
    management.ensure_user("rotated", "another")
    channel.basic_publish(topology.EXCHANGE, "a", b"still here", mandatory=True)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        open_channel(*who)


def test_a_user_that_moved_has_no_permissions_where_it_was(management: Management, vhost: str):
    user(management, vhost, "mover", "consume")
    assert management.ensure_only_vhosts("mover", {"elsewhere"})
    assert not management.ensure_only_vhosts("mover", {"elsewhere"})


def test_queues_are_counted(management: Management, vhost: str, open_channel: Open):
    publisher = open_channel(*user(management, vhost, "pub-4", "publish"))
    for _ in range(7):
        publisher.basic_publish(topology.EXCHANGE, "a", b"x" * 100)
    publisher.basic_publish(topology.DEAD_LETTER_EXCHANGE, "", b"bad")
    consumer = open_channel(*user(management, vhost, "con-4", "consume"))
    consumer.basic_qos(prefetch_count=2)
    consumer.basic_consume(topology.QUEUE, lambda *_: None)
    consumer.connection.process_data_events(0.5)

    def counted() -> bool:
        consumer.connection.process_data_events(0)
        found = queue(management, vhost, topology.QUEUE)
        return (found.ready, found.unacknowledged, found.consumers) == (5, 2, 1)

    wait_until(counted, 20, "the broker's sample")
    assert queue(management, vhost, topology.QUEUE).bytes == 700
    wait_until(lambda: queue(management, vhost, topology.DEAD_LETTER_QUEUE).ready == 1, 10, "the dead letter")


def test_wrong_credentials_are_told_apart_from_a_broker_that_is_down(broker):
    url = f"http://127.0.0.1:{broker.management_port}"
    with pytest.raises(UnauthorizedError, match="does not accept the password of tests"):
        Management(url, broker.USER, "wrong").whoami()
    with pytest.raises(ManagementError, match="does not answer"):
        Management("http://127.0.0.1:1", broker.USER, broker.PASSWORD).whoami()


def test_a_healthy_broker_has_no_alarm(management: Management):
    assert management.alarms() == ()
    assert management.version()[0].isdigit()


class TestSmoke:
    @pytest.fixture
    def target(self, broker) -> smoke.Target:
        return smoke.Target("127.0.0.1", broker.port, broker.USER, broker.PASSWORD)

    def test_passes_and_leaves_nothing_behind(self, target: smoke.Target, management: Management, vhost: str):
        before = {(found.vhost, found.name) for found in management.queues()}
        assert 0 < smoke.smoke_test(target, [vhost]) < 5
        assert 0 < smoke.smoke_test(target, []) < 5
        assert {(found.vhost, found.name) for found in management.queues()} == before

    def test_names_a_queue_that_is_missing(self, broker, target: smoke.Target, vhost: str, open_channel: Open):
        open_channel(vhost, broker.USER, broker.PASSWORD).queue_delete(topology.STREAM)
        with pytest.raises(smoke.SmokeTestError, match=r"no queue 'iot\.telemetry\.stream'"):
            smoke.smoke_test(target, [vhost])

    def test_names_wrong_credentials(self, target: smoke.Target):
        with pytest.raises(smoke.SmokeTestError, match=r"ProbableAuthenticationError|ACCESS_REFUSED"):
            smoke.smoke_test(dataclasses.replace(target, password="wrong"), [])
