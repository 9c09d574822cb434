"""The CoAP listener, with aiocoap's client and bare datagrams for nodes, over loopback."""

import asyncio
import contextlib
import random
import socket
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
import pytest
from coap_rig import PACK, NodeSide, Raw, Rig, client, make_keys, site
from listener_rig import until
from msgspec.structs import replace

from iot_gateway.listeners.coap import CoapOptions
from iot_gateway.listeners.coap.address import Address
from iot_gateway.nodes import Node
from iot_gateway.nodes.throttle import FAILURES, Throttle
from iot_gateway.shapes import ShapeError

CODES = aiocoap.numbers.codes


def post(
    identifier: int, token: bytes = b"t", *, payload: bytes = PACK, node: bytes = b"plain", kind: int = 0
) -> bytes:
    options = b"\xb9telemetry\x11\x6e" + bytes((0x30 | (len(node) + 5),)) + b"node=" + node
    return (
        bytes((0x40 | kind << 4 | len(token), 2)) + identifier.to_bytes(2, "big") + token + options + b"\xff" + payload
    )


@contextlib.asynccontextmanager
async def raw(rig: Rig) -> Any:
    made = Raw(rig)
    try:
        yield made
    finally:
        made.close()


PLAIN = b'[{"n":"plain/t","v":21.5}]'


async def test_plain_telemetry_is_answered_once_it_is_stored(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, raw(rig) as node:
        rig.intake.stores = False
        node.send(post(1, b"abc", payload=PLAIN))
        assert await node.receive(0.2) is None
        assert rig.intake.taken == [("plain", "plain", PLAIN)]
        rig.intake.store()
        assert await node.receive() == b"\x63\x44\x00\x01abc"


async def test_a_non_confirmable_request_gets_a_non_confirmable_answer(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, raw(rig) as node:
        node.send(post(7, payload=PLAIN, kind=1))
        answer = await node.receive()
        assert answer is not None
        assert answer[:2] == b"\x51\x44"
        assert answer[4:] == b"t"


async def test_a_repetition_is_answered_again_and_taken_once(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, raw(rig) as node, raw(rig) as other:
        rig.intake.stores = False
        node.send(post(1, payload=PLAIN))
        node.send(post(1, payload=PLAIN))
        await until(lambda: rig.intake.tokens)
        rig.intake.store()
        first = await node.receive()
        node.send(post(1, payload=PLAIN))
        assert await node.receive() == first
        assert len(rig.intake.taken) == 1
        rig.intake.stores = True
        other.send(post(1, payload=PLAIN))
        assert await other.receive() == first
        assert len(rig.intake.taken) == 2


@pytest.mark.parametrize(
    ("path", "content_format", "payload", "topic"),
    [
        ("/telemetry", 110, PLAIN, "plain"),
        ("/telemetry", 112, cbor2.dumps([{0: "plain/t", 2: 21.5}]), "plain"),
        ("/telemetry", None, PLAIN, "plain"),
        ("/telemetry/oven/top", 50, PLAIN, "plain/oven/top"),
        ("/telemetry/oven", 0, PLAIN, "plain/oven"),
    ],
)
async def test_formats_and_topics(tmp_path: Path, path: str, content_format: int | None, payload: bytes, topic: str):
    async with site(tmp_path, allow_plain=True) as rig, client(rig) as node:
        answer = await node.post(path, payload, content_format, query="node=plain")
        assert answer.code == CODES.CHANGED
        assert rig.intake.taken == [("plain", topic, payload)]
        assert rig.intake.values() == {"plain/t": 21.5}


async def test_malformed_telemetry_is_kept_and_answered_with_the_reason(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, client(rig) as node:
        answer = await node.post("/telemetry", b"[]", query="node=plain")
        assert (answer.code, answer.payload) == (CODES.BAD_REQUEST, b"an empty SenML pack")
        assert rig.intake.taken == [("plain", "plain", b"[]")]


@pytest.mark.parametrize("size", [1500, 20_000, 65_000])
async def test_a_large_pack_comes_in_blocks(tmp_path: Path, size: int):
    payload = PLAIN[:-1] + b" " * (size - len(PLAIN)) + b"]"
    async with site(tmp_path, allow_plain=True) as rig, client(rig) as node:
        answer = await node.post("/telemetry", payload, query="node=plain")
        assert answer.code == CODES.CHANGED
        assert rig.intake.taken == [("plain", "plain", payload)]


async def test_too_large_a_pack(tmp_path: Path):
    async with site(tmp_path, allow_plain=True, max_payload=1024) as rig, client(rig) as node:
        answer = await node.post("/telemetry", b"x" * 3000, query="node=plain")
        assert answer.code == CODES.REQUEST_ENTITY_TOO_LARGE
        assert rig.intake.taken == []


async def test_too_large_a_datagram(tmp_path: Path):
    async with site(tmp_path, allow_plain=True, max_payload=1024) as rig, raw(rig) as node:
        node.send(post(1, payload=b"x" * 2000))
        answer = await node.receive()
        assert answer is not None
        assert answer[1] == 0x8D


@pytest.mark.parametrize(
    ("code", "path", "content_format", "query", "expected"),
    [
        (aiocoap.POST, "/telemetry", 60, "node=plain", CODES.UNSUPPORTED_CONTENT_FORMAT),
        (aiocoap.POST, "/elsewhere", 110, "node=plain", CODES.NOT_FOUND),
        (aiocoap.GET, "/telemetry", None, "node=plain", CODES.METHOD_NOT_ALLOWED),
        (aiocoap.POST, "/telemetry", 110, "", CODES.UNAUTHORIZED),
        (aiocoap.POST, "/telemetry", 110, "node=nobody", CODES.UNAUTHORIZED),
        (aiocoap.POST, "/telemetry", 110, "node=kitchen", CODES.UNAUTHORIZED),
        (aiocoap.POST, "/telemetry", 110, "node=banned", CODES.UNAUTHORIZED),
    ],
)
async def test_what_is_refused(tmp_path: Path, code: Any, path: str, content_format: Any, query: str, expected: Any):
    async with site(tmp_path, allow_plain=True) as rig, client(rig) as node:
        answer = await node.request(code, path, PACK, content_format=content_format, query=query)
        assert answer.code == expected
        assert rig.intake.taken == []


async def test_an_unknown_node_is_in_the_inbox(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, client(rig) as node:
        await node.post("/telemetry", PACK, query="node=newcomer")
        (stranger,) = rig.nodes.status()["inbox"]
        assert (stranger["name"], stranger["protocol"], stranger["address"]) == ("newcomer", "coap", "127.0.0.1")


async def test_who_tries_many_names_is_not_listed(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, client(rig) as node:
        rig.nodes.throttle = Throttle(per_second=0)
        for number in range(2 * FAILURES):
            answer = await node.post("/telemetry", PACK, query=f"node=guess-{number}")
            assert answer.code == CODES.UNAUTHORIZED
        assert len(rig.nodes.status()["inbox"]) == FAILURES
        assert (await node.post("/telemetry", PLAIN, query="node=plain")).code == CODES.CHANGED


async def test_nothing_is_taken_unprotected_unless_it_is_allowed(tmp_path: Path):
    large = b"x" * 3000
    async with site(tmp_path) as rig, client(rig) as node:
        for payload in (PLAIN, large):
            answer = await node.post("/telemetry", payload, query="node=plain")
            assert answer.code == CODES.UNAUTHORIZED
        assert rig.intake.taken == []
        assert len(rig.listener._site.blocks) == 0


async def test_a_full_store_sends_nodes_away(tmp_path: Path):
    async with site(tmp_path, allow_plain=True, store_seconds=0.2, retry_seconds=30) as rig, client(rig) as node:
        rig.intake.stores = False
        for _ in range(3):
            answer = await node.post("/telemetry", PLAIN, query="node=plain")
            assert (answer.code, answer.opt.max_age) == (CODES.SERVICE_UNAVAILABLE, 30)
        # The first one waits for the disk; nothing of its repetitions is taken into memory.
        assert len(rig.intake.taken) == 1
        rig.intake.store()
        rig.intake.stores = True
        assert (await node.post("/telemetry", PLAIN, query="node=plain")).code == CODES.CHANGED
        rig.intake.source.pause()
        assert (await node.post("/telemetry", PLAIN, query="node=plain")).code == CODES.SERVICE_UNAVAILABLE
        rig.intake.source.resume()
        assert (await node.post("/telemetry", PLAIN, query="node=plain")).code == CODES.CHANGED
        assert rig.listener.status()["unavailable"] == 4


async def test_what_it_offers(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig) as node:
        answer = await node.request(aiocoap.GET, "/.well-known/core")
        assert answer.code == CODES.CONTENT
        assert b"</telemetry>" in answer.payload
        assert int(answer.opt.content_format) == 40


async def test_an_unknown_critical_option(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, raw(rig) as node:
        # Uri-Path telemetry, then option 11 + 14 + 8 = 33
        node.send(b"\x41\x02\x00\x01t\xb9telemetry\xd1\x09x\xff" + PLAIN)
        answer = await node.receive()
        assert answer is not None
        assert answer[1] == 0x82


async def test_a_ping_is_answered(tmp_path: Path):
    async with site(tmp_path) as rig, raw(rig) as node:
        node.send(b"\x40\x00\x12\x34")
        assert await node.receive() == b"\x70\x00\x12\x34"


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\x40",
        b"\x00\x02\x00\x01",
        b"\x49\x02\x00\x01" + b"x" * 9,
        b"\x40\x02\x00\x01\xff",
        b"\x40\x02\x00\x01\xf1x",
        b"\x40\x02\x00\x01\xb9tele",
        b"\x44\x02\x00\x01t",
        b"\x60\x45\x00\x01",
        b"\x40\x44\x00\x01",
        b"\x40\x02\x00\x01\xe0\xff",
    ],
)
async def test_noise_does_no_harm(tmp_path: Path, noise: bytes):
    async with site(tmp_path, allow_plain=True) as rig, raw(rig) as node, raw(rig) as good:
        node.send(noise)
        good.send(post(1, payload=PLAIN))
        answer = await good.receive()
        assert answer is not None
        assert answer[1] == 0x44


async def test_oscore_tells_who_speaks(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node:
        for number in range(3):
            payload = b'[{"n":"kitchen/t","v":%d}]' % number
            answer = await node.post("/telemetry", payload)
            assert answer.code == CODES.CHANGED
        assert [(node, topic) for node, topic, _ in rig.intake.taken] == [("kitchen", "kitchen")] * 3
        assert rig.listener.status()["contexts"] == 1


async def test_oscore_in_blocks(tmp_path: Path):
    payload = PACK[:-1] + b" " * 5000 + b"]"
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node:
        assert (await node.post("/telemetry", payload)).code == CODES.CHANGED
        assert rig.intake.taken == [("kitchen", "kitchen", payload)]


async def test_a_key_speaks_for_its_node_alone(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node:
        answer = await node.post("/telemetry", PACK, query="node=office")
        assert answer.code == CODES.UNAUTHORIZED
        assert rig.intake.taken == []


@pytest.mark.parametrize("keys", ["unknown", "wrong", "banned"])
async def test_other_keys_are_refused(tmp_path: Path, keys: str):
    async with site(tmp_path) as rig:
        given = {
            "unknown": make_keys("stranger"),
            "wrong": {**make_keys("kitchen")},
            "banned": rig.keys["banned"],
        }[keys]
        async with client(rig, given) as node:
            try:
                answer = await node.post("/telemetry", PACK)
            except aiocoap.error.Error:
                pass  # an answer that is not protected is none
            else:
                assert not answer.code.is_successful()
        assert rig.intake.taken == []


async def test_a_replay_is_not_taken(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node:
        await node.post("/telemetry", PACK)
        (side,) = node.context.client_credentials.values()
        await rig.restart()
        count = len(rig.intake.taken)
        side.sender_sequence_number = 0
        node.context.client_credentials[f"coap://127.0.0.1:{rig.port}/*"] = side
        with contextlib.suppress(aiocoap.error.Error):
            assert not (await node.post("/telemetry", PACK)).code.is_successful()
        assert len(rig.intake.taken) == count


async def test_what_the_last_run_left_cant_be_read(tmp_path: Path):
    (tmp_path / "coap").mkdir()
    (tmp_path / "coap" / "sequence").write_text("many")
    rig = Rig(tmp_path)
    task = asyncio.create_task(rig.listener.run())
    await until(lambda: rig.listener.status()["error"] is not None)
    assert not rig.listener.status()["connected"]
    (tmp_path / "coap" / "sequence").write_text("70")
    await until(lambda: rig.listener.status()["connected"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with rig.desk.closing():
        pass


@pytest.mark.parametrize("killed", [False, True])
async def test_a_restart_costs_at_most_an_echo(tmp_path: Path, killed: bool):
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node:
        await node.post("/telemetry", PACK)
        (side,) = node.context.client_credentials.values()
        before = side.sender_sequence_number
        await rig.restart(killed=killed)
        node.context.client_credentials[f"coap://127.0.0.1:{rig.port}/*"] = side
        assert (await node.post("/telemetry", PACK)).code == CODES.CHANGED
        assert side.sender_sequence_number - before == (2 if killed else 1)
        assert len(rig.intake.taken) == 2


async def test_a_protected_request_is_repeated(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node, raw(rig) as bare:
        await node.post("/telemetry", PACK)
        (side,) = node.context.client_credentials.values()
        request = aiocoap.Message(code=aiocoap.POST, uri_path=("telemetry",), content_format=110, payload=PACK)
        protected, _ = side.protect(request)
        protected.mid, protected.mtype, protected.token = 7, aiocoap.CON, b"tok"
        bare.send(protected.encode())
        answer = await bare.receive()
        assert answer is not None
        bare.send(protected.encode())
        assert await bare.receive() == answer
        # Under another message ID it is a replay.
        protected.mid = 8
        bare.send(protected.encode())
        refusal = await bare.receive()
        assert refusal is not None
        assert refusal[1] == 0x81
        for length in range(12):
            protected.mid, protected.payload = 100 + length, b"x" * length
            bare.send(protected.encode())
            refusal = await bare.receive()
            assert refusal is not None
            assert refusal[1] >= 0x80
        assert len(rig.intake.taken) == 2


async def test_what_is_refused_behind_oscore(tmp_path: Path):
    async with site(tmp_path, store_seconds=0.2) as rig, client(rig, rig.keys["kitchen"]) as node:
        await node.post("/telemetry", PACK)
        assert (await node.post("/telemetry", PACK, 60)).code == CODES.UNSUPPORTED_CONTENT_FORMAT
        malformed = await node.post("/telemetry", b"[]")
        assert (malformed.code, malformed.payload) == (CODES.BAD_REQUEST, b"an empty SenML pack")
        assert (await node.post("/nowhere", PACK)).code == CODES.NOT_FOUND
        rig.intake.stores = False
        answer = await node.post("/telemetry", PACK)
        assert (answer.code, answer.opt.max_age) == (CODES.SERVICE_UNAVAILABLE, 10)
        rig.intake.stores = True
        rig.intake.store()
        assert (await node.post("/telemetry/a/b", PACK)).code == CODES.CHANGED
        assert rig.intake.taken[-1][1] == "kitchen/a/b"


async def test_a_removed_node_is_not_heard(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig, rig.keys["kitchen"]) as node:
        await node.post("/telemetry", PACK)
        rig.nodes.replace({name: each for name, each in rig.known().items() if name != "kitchen"})
        with contextlib.suppress(aiocoap.error.Error):
            assert not (await node.post("/telemetry", PACK)).code.is_successful()
        assert len(rig.intake.taken) == 1
        rig.nodes.replace({**rig.known(), "kitchen": Node("kitchen", keys=make_keys("kitchen"))})
        with contextlib.suppress(aiocoap.error.Error):
            assert not (await node.post("/telemetry", PACK)).code.is_successful()
        assert len(rig.intake.taken) == 1


async def test_a_port_that_is_taken_is_tried_again(tmp_path: Path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        rig = Rig(tmp_path, port=taken.getsockname()[1])
        task = asyncio.create_task(rig.listener.run())
        await until(lambda: rig.listener.status()["error"] is not None)
        assert "in use" in rig.listener.status()["error"]
        taken.close()
        await until(lambda: rig.listener.status()["connected"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with rig.desk.closing():
            pass


async def test_settings_are_followed_or_not(tmp_path: Path):
    async with site(tmp_path) as rig, client(rig) as node:
        assert rig.listener.configure(replace(rig.options, allow_plain=True))
        assert (await node.post("/telemetry", PLAIN, query="node=plain")).code == CODES.CHANGED
        assert not rig.listener.configure(replace(rig.options, port=9))


async def test_no_more_is_taken_while_it_leaves(tmp_path: Path):
    async with site(tmp_path, allow_plain=True) as rig, raw(rig) as node:
        rig.intake.stores = False
        node.send(post(1, payload=PLAIN))
        await until(lambda: rig.intake.tokens)
        rig.listener.quiesce()
        node.send(post(2, payload=PLAIN))
        assert await node.receive(0.1) is None
        rig.intake.store()
        assert await node.receive() == b"\x61\x44\x00\x01t"
        assert len(rig.intake.taken) == 1


@pytest.mark.parametrize("options", [{"addresses": ["0.0.0.0"]}, {"gateway_id": "0"}, {"gateway_id": "00" * 8}])
def test_settings_that_make_no_sense(options: dict[str, Any]):
    with pytest.raises(ShapeError):
        CoapOptions.read(options)


@pytest.mark.parametrize(
    "option", [b"", b"\x00", b"\x08", b"\x0e" + b"x" * 9, b"\x0b12", b"\x19\x01\x01kk", b"\x29\x01k", b"\xc9\x01k"]
)
async def test_an_oscore_option_that_makes_no_sense(tmp_path: Path, option: bytes, caplog: pytest.LogCaptureFixture):
    async with site(tmp_path) as rig, raw(rig) as node:
        node.send(b"\x41\x02\x00\x01t" + bytes((0x90 | len(option),)) + option + b"\xff" + b"x" * 30)
        answer = await node.receive()
        assert answer is not None
        assert answer[1] == 0x82
        assert caplog.text == ""


async def test_requests_that_are_not_answered_are_forgotten(tmp_path: Path):
    async with site(tmp_path) as rig, raw(rig) as node:
        # Non-confirmable, behind OSCORE with an identifier that nobody has.
        for number in range(50):
            node.send(b"\x51\x02" + number.to_bytes(2, "big") + bytes((number,)) + b"\x93\x09\x01k\xff" + b"x" * 30)
        node.send(b"\x40\x00\x12\x34")
        assert await node.receive() == b"\x70\x00\x12\x34"
        assert not rig.listener._endpoint.messages.token_manager.incoming_requests


def mutated(chance: random.Random, datagram: bytes) -> bytes:
    data = bytearray(datagram)
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(3):
            case 0:
                data[place : place + 1] = chance.randbytes(1)
            case 1:
                del data[place : place + chance.randrange(5)]
            case _:
                data[place:place] = chance.randbytes(chance.randrange(4))
    return bytes(data)


def seeds(rig: Rig) -> list[bytes]:
    """Return requests that are as they should be."""
    side = NodeSide(rig.keys["kitchen"])
    cbor = cbor2.dumps([{0: "plain/t", 2: 21.5}])
    made = [
        aiocoap.Message(uri_path=("telemetry",), uri_query=("node=plain",), content_format=110, payload=PLAIN),
        aiocoap.Message(uri_path=("telemetry", "a"), uri_query=("node=plain",), content_format=112, payload=cbor),
        aiocoap.Message(uri_path=("telemetry",), uri_query=("node=plain",), block1=(1, True, 2), payload=b"x" * 64),
        aiocoap.Message(uri_path=("rd",), uri_query=("ep=plain", "lt=60"), content_format=40, payload=b"</3303/0>"),
        aiocoap.Message(uri_path=("dp",), content_format=110, payload=b'[{"n":"/3303/0/5700","v":1}]'),
        aiocoap.Message(uri_path=("rd", "abc")),
    ]
    for each in made:
        each.code = aiocoap.POST
    made.append(side.protect(aiocoap.Message(code=aiocoap.POST, uri_path=("telemetry",), payload=PACK))[0])
    made.append(aiocoap.Message(code=aiocoap.CONTENT, observe=3, content_format=110, payload=b"[]"))
    for each in made:
        each.mid, each.mtype, each.token = 7, aiocoap.CON, b"tok"
    return [each.encode() for each in made]


async def test_hostile_datagrams_do_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    chance = random.Random(5683)
    caplog.set_level("WARNING")
    async with site(tmp_path, allow_plain=True, lwm2m={}) as rig:
        endpoint = rig.listener._endpoint
        good = seeds(rig)
        for number in range(6000):
            data = mutated(chance, chance.choice(good))
            peer = Address(endpoint.ports[0], (f"127.0.0.{chance.randrange(2, 250)}", chance.randrange(1024, 65536)))
            endpoint.received(peer, data[:2] + number.to_bytes(2, "big") + data[4:])
            if number % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: not endpoint.messages.token_manager.incoming_requests)
        async with raw(rig) as node:
            node.send(post(1, payload=PLAIN))
            answer = await node.receive()
            assert answer is not None
            assert answer[1] == 0x44
        assert caplog.text == ""
