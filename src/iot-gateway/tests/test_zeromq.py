"""The ZeroMQ listener with pyzmq's own sockets for nodes, over loopback."""

import asyncio
import contextlib
import itertools
import socket
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import cbor2
import orjson
import pytest
import zmq
import zmq.asyncio
from listener_rig import ListenerRig, SilentChain, free_port, until
from msgspec.structs import replace

from iot_gateway.desk import Book, CommandRequest, Desk, reports
from iot_gateway.interfaces import Core
from iot_gateway.listeners.zeromq import ZeroMqListener, ZeroMqOptions, sources
from iot_gateway.listeners.zeromq.admission import KEY
from iot_gateway.nodes import Node, Nodes
from iot_gateway.shapes import Secret

SERVER_PUBLIC, SERVER_SECRET = zmq.curve_keypair()
PACK = b'[{"n":"kitchen/t","v":21.5}]'


class Intake:
    """Keeps what it is offered, and acknowledges it unless told not to."""

    def __init__(self):
        self.taken: list[tuple[str, str, bytes]] = []
        self.read: list[Any] = []
        self.stores = True
        self.source: Any = None

    def offer(self, source: Any, node: str, topic: str, payload: bytes, token: Any, decode: Any = None) -> bool:
        self.source = source
        self.taken.append((node, topic, payload))
        if decode is not None:
            self.read.append(decode(payload, 0.0))
        if token is not None and self.stores:
            source.acknowledge([token])
        return True


class Site(ListenerRig):
    """A listener, its desk, and the nodes ``kitchen`` and ``office``."""

    def __init__(self, directory: Path, queue: int = 10):
        self.keys = {name: zmq.curve_keypair() for name in ("kitchen", "office", "banned", "stranger")}
        self.nodes = Nodes(self.known())
        self.intake = Intake()
        self.desk = Desk(Book(directory / "commands.db"), SilentChain())
        self.options = ZeroMqOptions(
            pull_port=free_port(), router_port=free_port(), secret_key=Secret(SERVER_SECRET.decode()), queue=queue
        )
        self.directory = directory
        self.make()
        self.context = zmq.asyncio.Context()
        self.sockets: list[zmq.asyncio.Socket] = []

    def make(self) -> None:
        self.listener = ZeroMqListener(self.options, Core(self.intake, self.nodes, self.desk, self.directory))

    async def replace(self) -> None:
        """As a reload does."""
        self.listener.quiesce()
        await until(lambda: not self.listener.draining)
        await self.stop()
        self.make()
        await self.start()

    def known(self) -> dict[str, Node]:
        return {
            name: Node(
                name,
                protocols=frozenset({"mqtt"}) if name == "banned" else None,
                keys={KEY: self.keys[name][0].decode()},
            )
            for name in ("kitchen", "office", "banned")
        }

    def connect(self, kind: int, name: str, port: int, **options: Any) -> zmq.asyncio.Socket:
        made = self.context.socket(kind)
        self.sockets.append(made)
        made.curve_publickey, made.curve_secretkey = self.keys[name]
        made.curve_serverkey = SERVER_PUBLIC
        made.linger = 0
        for option, value in options.items():
            setattr(made, option, value)
        made.connect(f"tcp://127.0.0.1:{port}")
        return made

    def close(self) -> None:
        for made in self.sockets:
            made.close(linger=0)
        self.context.term()

    def push(self, name: str, **options: Any) -> zmq.asyncio.Socket:
        return self.connect(zmq.PUSH, name, self.options.pull_port, **options)

    def dealer(self, name: str) -> zmq.asyncio.Socket:
        return self.connect(zmq.DEALER, name, self.options.router_port)

    async def greeted(self, name: str) -> zmq.asyncio.Socket:
        """Return the DEALER of a node that takes commands."""
        made = self.dealer(name)
        await made.send_multipart([b"hello"])
        assert await receive(made) == [b"welcome"]
        return made


@contextlib.asynccontextmanager
async def site(directory: Path, **options: Any) -> AsyncGenerator[Site]:
    made = Site(directory, **options)
    async with made.desk.closing():
        desk = asyncio.create_task(made.desk.run())
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
            made.close()


async def receive(dealer: zmq.asyncio.Socket) -> list[bytes]:
    async with asyncio.timeout(5):
        return await dealer.recv_multipart()


async def test_pushed_telemetry_is_the_key_owners(tmp_path: Path):
    async with site(tmp_path) as made:
        push = made.push("kitchen")
        await push.send(PACK)
        await push.send_multipart([b"oven", b"180"])
        await until(lambda: len(made.intake.taken) == 2)
        assert made.intake.taken == [("kitchen", "kitchen", PACK), ("kitchen", "kitchen/oven", b"180")]


async def test_cbor_is_told_by_its_first_byte(tmp_path: Path):
    async with site(tmp_path) as made:
        await made.push("kitchen").send(cbor2.dumps([{0: "kitchen/t", 2: 21.5}]))
        await until(lambda: len(made.intake.read) == 1)
        assert made.intake.read[0][0].value == 21.5


@pytest.mark.parametrize("name", ["stranger", "banned"])
async def test_nobody_else_gets_in(tmp_path: Path, name: str):
    async with site(tmp_path) as made:
        push = made.push(name)
        await push.send(PACK)
        await until(lambda: made.listener.status()["refused"] > 0)
        assert made.intake.taken == []


async def test_a_dealer_learns_that_its_telemetry_is_stored(tmp_path: Path):
    async with site(tmp_path) as made:
        dealer = made.dealer("kitchen")
        await dealer.send_multipart([b"telemetry", b"7", PACK])
        assert await receive(dealer) == [b"stored", b"7"]
        assert made.intake.taken == [("kitchen", "kitchen", PACK)]
        made.intake.stores = False
        await dealer.send_multipart([b"telemetry", b"8", PACK])
        await until(lambda: len(made.intake.taken) == 2)
        assert not await dealer.poll(100)


async def test_a_node_blocks_while_nothing_can_be_stored(tmp_path: Path):
    async with site(tmp_path) as made:
        push = made.push("kitchen", sndhwm=10)
        await push.send(PACK)
        await until(lambda: len(made.intake.taken) == 1)
        made.intake.source.pause()
        big = b"[" + b" " * 60_000 + PACK[1:]
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 2000:
                await asyncio.wait_for(push.send(big), 1)
                sent += 1
        assert sent < 2000
        assert len(made.intake.taken) <= 2
        made.intake.source.resume()
        await until(lambda: len(made.intake.taken) >= sent)


async def test_a_node_that_sends_without_end_leaves_the_relay_to_the_others(tmp_path: Path):
    async with site(tmp_path, queue=1000) as made:
        dealer = await made.greeted("kitchen")
        made.listener._dealers.pause()
        for _ in range(500):
            await dealer.send_multipart([b"hello"])
        await asyncio.sleep(0.2)
        made.listener._dealers.resume()
        seen = [made.listener.status()["received"]]
        async with asyncio.timeout(10):
            while seen[-1] < 501:
                await asyncio.sleep(0)
                seen.append(made.listener.status()["received"])
        assert max(after - before for before, after in itertools.pairwise(seen)) < 10


async def test_what_was_pushed_is_taken_before_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with site(tmp_path, queue=1000) as made:
        sent = 0

        async def sending(name: str) -> None:
            nonlocal sent
            push = made.push(name)
            while sent < 6000:
                sent += 1
                await push.send(b"%d" % sent)
                if sent % 10 == 0:
                    await asyncio.sleep(0)

        # They ask to be let in again while the former listener still takes what they had sent.
        senders = [asyncio.create_task(sending(name)) for name in ("kitchen", "office")]
        for goal in (1000, 2500, 4000):
            await until(lambda goal=goal: len(made.intake.taken) > goal)
            await made.replace()
        await asyncio.gather(*senders)
        # Of each node, the message that its libzmq had in hand at each of the three ends.
        await until(lambda: len(made.intake.taken) >= sent - 6)
        await asyncio.sleep(0.1)
        taken = [int(payload) for _, _, payload in made.intake.taken]
        assert len(set(taken)) == len(taken) >= sent - 6
    assert "never retrieved" not in caplog.text


async def test_what_waits_when_nothing_can_be_stored_is_taken_at_the_end(tmp_path: Path):
    async with site(tmp_path) as made:
        push = made.push("kitchen")
        await push.send(b"0")
        await until(lambda: len(made.intake.taken) == 1)
        made.intake.source.pause()
        for number in range(1, 100):
            await push.send(b"%d" % number)
        await asyncio.sleep(0.2)
        made.listener.quiesce()
        await asyncio.sleep(0.2)
        assert made.listener.draining
        assert len(made.intake.taken) <= 2
        made.intake.source.resume()
        await until(lambda: not made.listener.draining)
        assert [payload for _, _, payload in made.intake.taken] == [b"%d" % number for number in range(100)]


async def test_a_node_that_does_not_hang_up_is_not_waited_for(tmp_path: Path):
    async with site(tmp_path) as made:
        with socket.create_connection(("127.0.0.1", made.options.pull_port)):
            await asyncio.sleep(0.1)
            made.listener.quiesce()
            made.listener.quiesce()
            assert made.listener.draining
            await until(lambda: not made.listener.draining)


async def test_what_a_dealer_had_sent_is_answered_at_the_end(tmp_path: Path):
    async with site(tmp_path) as made:
        dealer = await made.greeted("kitchen")
        made.intake.stores = False
        for number in range(50):
            await dealer.send_multipart([b"telemetry", b"%d" % number, PACK])
        await asyncio.sleep(0.1)
        made.listener.quiesce()
        await until(lambda: not made.listener.draining)
        assert len(made.intake.taken) == 50
        made.intake.source.acknowledge([(next(iter(made.listener._dealers.identities.values())), b"49")])
        assert await receive(dealer) == [b"stored", b"49"]


async def test_a_reload_without_a_change_drops_nobody(tmp_path: Path):
    async with site(tmp_path) as made:
        dealer = await made.greeted("kitchen")
        assert made.listener.configure(replace(made.options))
        # libzmq stalls connections whose bound changes while they wait for room.
        assert not made.listener.configure(replace(made.options, queue=500))
        await made.desk.submit(CommandRequest(id="one", node="kitchen", target="light", value=60.0))
        assert (await receive(dealer))[0] == b"command"


async def test_commands_go_to_a_dealer_and_its_word_comes_back(tmp_path: Path):
    async with site(tmp_path) as made:
        await made.desk.submit(CommandRequest(id="one", node="kitchen", target="light", value=60.0))
        dealer = await made.greeted("kitchen")
        kind, text = await receive(dealer)
        command = orjson.loads(text)
        assert (kind, command["id"], command["target"], command["value"]) == (b"command", "one", "light", 60.0)
        for state in ("acknowledged", "applied"):
            await dealer.send_multipart([b"command-state", orjson.dumps({"id": "one", "state": state})])
        await until(lambda: made.desk.status()["by_state"]["applied"] == 1)


async def test_nobody_speaks_for_another_nodes_command(tmp_path: Path):
    async with site(tmp_path) as made:
        await made.desk.submit(CommandRequest(id="one", node="kitchen", target="light", value=60.0))
        office = made.dealer("office")
        await office.send_multipart([b"command-state", b'{"id": "one", "state": "applied"}'])
        await office.send_multipart([b"hello"])
        assert await receive(office) == [b"welcome"]
        await until(lambda: not made.listener._dealers.reports.waiting)
        assert made.desk.status()["by_state"]["queued"] == 1


async def test_a_word_that_the_book_does_not_take_is_noted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reports, "RETRY_SECONDS", 0.01)

    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with site(tmp_path) as made:
        dealer = await made.greeted("kitchen")
        await made.desk.submit(CommandRequest(id="one", node="kitchen", target="light", value=60.0))
        assert (await receive(dealer))[0] == b"command"
        await until(lambda: made.desk.status()["by_state"]["sent"] == 1)
        with monkeypatch.context() as full:
            full.setattr(made.desk._book, "step", fails)
            await dealer.send_multipart([b"command-state", b'{"id": "one", "state": "applied"}'])
            await dealer.send_multipart([b"telemetry", b"7", PACK])
            assert await receive(dealer) == [b"stored", b"7"], "telemetry does not wait for the book"
            made.listener.quiesce()
            await asyncio.sleep(0.1)
            assert made.listener.draining
            assert made.desk.status()["by_state"]["applied"] == 0
        await until(lambda: not made.listener.draining)
        assert made.desk.status()["by_state"]["applied"] == 1


async def test_words_that_the_book_does_not_take_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "MOST_REPORTS", 10)

    async with site(tmp_path) as made:
        await made.desk.submit(CommandRequest(id="one", node="kitchen", target="light", value=60.0))
        dealer = made.dealer("kitchen")
        async with made.desk._lock:
            for _ in range(50):
                await dealer.send_multipart([b"command-state", b'{"id": "one", "state": "applied"}'])
            await until(lambda: made.listener.status()["received"] == 50)
            assert made.listener._dealers.reports.waiting == 10
        await until(lambda: made.desk.status()["by_state"]["applied"] == 1)


async def test_a_command_waits_for_a_dealer_that_went(tmp_path: Path):
    async with site(tmp_path) as made:
        dealer = await made.greeted("kitchen")
        dealer.close()
        await asyncio.sleep(0.3)
        await made.desk.submit(CommandRequest(id="one", node="kitchen", target="light", value=60.0))
        await until(lambda: made.listener.status()["clients"] == 0)
        assert made.desk.status()["by_state"]["queued"] == 1
        again = await made.greeted("kitchen")
        assert (await receive(again))[0] == b"command"


@pytest.mark.parametrize(
    "frames", [[b""], [b"telemetry"], [b"hello", b"x"], [b"command-state", b"{"], [b"\xff" * 100], [b"", b"", b"", b""]]
)
async def test_noise_does_no_harm(tmp_path: Path, frames: list[bytes]):
    async with site(tmp_path) as made:
        dealer = made.dealer("kitchen")
        await dealer.send_multipart(frames)
        await dealer.send_multipart([b"telemetry", b"1", PACK])
        assert await receive(dealer) == [b"stored", b"1"]


async def test_a_removed_node_is_not_heard(tmp_path: Path):
    async with site(tmp_path) as made:
        dealer = await made.greeted("kitchen")
        made.nodes.replace({name: node for name, node in made.known().items() if name != "kitchen"})
        await dealer.send_multipart([b"telemetry", b"1", PACK])
        assert not await dealer.poll(300)
        assert made.intake.taken == []
        assert made.listener.status()["clients"] == 0


async def test_a_port_that_is_taken_is_tried_again(tmp_path: Path):
    with socket.socket() as taken:
        made = Site(tmp_path)
        taken.bind(("127.0.0.1", made.options.pull_port))
        taken.listen()
        task = asyncio.create_task(made.listener.run())
        await until(lambda: made.listener.status()["error"] is not None)
        assert "in use" in made.listener.status()["error"]
        taken.close()
        await until(lambda: made.listener.status()["connected"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        made.close()
        async with made.desk.closing():
            pass


async def test_a_socket_that_fails_is_bound_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with site(tmp_path) as made:
        dealer = await made.greeted("kitchen")

        def fails(*_: object) -> None:
            raise zmq.ZMQError(zmq.ENOTSOCK)

        with monkeypatch.context() as broken:
            broken.setattr(made.listener._dealers, "hear", fails)
            await dealer.send_multipart([b"hello"])
            await until(lambda: made.listener.status()["error"] is not None)
        assert made.listener.status()["error"] == zmq.strerror(zmq.ENOTSOCK)
        await until(lambda: made.listener.status()["connected"])
        await made.push("kitchen").send(PACK)
        await until(lambda: len(made.intake.taken) == 1)


def test_a_listener_without_a_port():
    with pytest.raises(ValueError, match="pull_port or router_port"):
        ZeroMqOptions(pull_port=0, router_port=0, secret_key=Secret(SERVER_SECRET.decode()))


@pytest.mark.parametrize("key", ["", "short", "x" * 39, "x" * 41])
def test_a_key_that_is_none(key: str):
    with pytest.raises(ValueError, match="Z85"):
        ZeroMqOptions(secret_key=Secret(key))
