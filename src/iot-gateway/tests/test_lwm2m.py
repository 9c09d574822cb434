"""The LwM2M server, with nodes made of aiocoap, over loopback."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiocoap
import aiocoap.resource
import cbor2
import orjson
import pytest
from coap_rig import Client, Raw, Rig, client, site
from listener_rig import until
from msgspec.structs import replace

from iot_gateway.desk import CommandRequest
from iot_gateway.listeners.lwm2m import tlv

CODES = aiocoap.numbers.codes
LINKS = b'</>;rt="oma.lwm2m";ct="0 110 112 11542",</1/0>,</3/0>,</3303/0>,</3313/0>,</3311/0>,</9999/1>'


class Instance(aiocoap.resource.ObservableResource):
    """An instance of an object at a node."""

    def __init__(self, formats: tuple[int, ...], path: str, values: dict[int, Any]):
        super().__init__()
        self.formats, self.path, self.values = formats, path, values
        self.asked: list[int | None] = []
        self.delay = 0.0

    async def render_get(self, request: Any) -> Any:
        self.asked.append(request.opt.accept)
        await asyncio.sleep(self.delay)
        content_format = int(request.opt.accept or self.formats[0])
        if content_format not in self.formats:
            return aiocoap.Message(code=aiocoap.NOT_ACCEPTABLE)
        return aiocoap.Message(payload=self.written(content_format), content_format=content_format)

    def written(self, content_format: int) -> bytes:
        if content_format == 110:
            records = [{"n": str(number), label(value): value} for number, value in self.values.items()]
            return orjson.dumps([{"bn": f"{self.path}/"}, *records])
        if content_format == 112:
            numbers = {"v": 2, "vs": 3, "vb": 4}
            records = [{0: str(number), numbers[label(value)]: value} for number, value in self.values.items()]
            return cbor2.dumps([{-2: f"{self.path}/"}, *records])
        entries = []
        for number, value in self.values.items():
            raw = value.encode() if isinstance(value, str) else bytes((value,)) if isinstance(value, bool) else None
            if raw is None:
                raw = tlv.from_integer(value) if isinstance(value, int) else tlv.from_float(value)
            entries.append(tlv.Entry(tlv.Kind.RESOURCE, number, raw))
        return tlv.encode(entries)

    def change(self, number: int, value: Any) -> None:
        self.values[number] = value
        self.updated_state()


def label(value: Any) -> str:
    return "vs" if isinstance(value, str) else "vb" if isinstance(value, bool) else "v"


class Actuator(aiocoap.resource.Resource):
    def __init__(self, formats: tuple[int, ...] = (0,), code: Any = aiocoap.CHANGED):
        super().__init__()
        self.formats, self.code = formats, code
        self.done: list[tuple[str, int | None, bytes]] = []
        self.delay = 0.0

    async def render_put(self, request: Any) -> Any:
        return await self._do("write", request)

    async def render_post(self, request: Any) -> Any:
        return await self._do("execute", request)

    async def _do(self, what: str, request: Any) -> Any:
        await asyncio.sleep(self.delay)
        given = request.opt.content_format
        if what == "write" and int(given) not in self.formats:
            return aiocoap.Message(code=aiocoap.UNSUPPORTED_CONTENT_FORMAT)
        self.done.append((what, None if given is None else int(given), request.payload))
        return aiocoap.Message(code=self.code, payload=b"" if self.code.is_successful() else b"not here")


class Node:
    """A node with a thermometer, an accelerometer and a lamp."""

    def __init__(self, formats: tuple[int, ...] = (112, 110, 11542)):
        self.site = aiocoap.resource.Site()
        self.thermometer = Instance(formats, "/3303/0", {5700: 21.5, 5701: "Cel", 5601: 3.0})
        self.accelerometer = Instance(formats, "/3313/0", {5702: 0.5, 5703: 0.25, 5704: 9.75})
        self.lamp = Instance(formats, "/3311/0", {5850: True, 5851: 40})
        self.dimmer = Actuator()
        for path, resource in (
            (("3303", "0"), self.thermometer),
            (("3313", "0"), self.accelerometer),
            (("3311", "0"), self.lamp),
            (("3311", "0", "5851"), self.dimmer),
        ):
            self.site.add_resource(path, resource)
        self.location = ""
        self.client: Client

    async def register(self, name: str = "plain", links: bytes = LINKS, **query: Any) -> Any:
        asked = "&".join([f"ep={name}", *(key if value is True else f"{key}={value}" for key, value in query.items())])
        answer = await self.client.post("/rd", links, 40, query=asked)
        if answer.code.is_successful():
            self.location = "/" + "/".join(answer.opt.location_path)
        return answer

    async def update(self, payload: bytes = b"", **query: Any) -> Any:
        asked = "&".join(f"{key}={value}" for key, value in query.items())
        return await self.client.post(self.location, payload, 40 if payload else None, query=asked)


@contextlib.asynccontextmanager
async def node(rig: Rig, keys: dict[str, str] | None = None, **options: Any) -> AsyncGenerator[Node]:
    made = Node(**options)
    async with client(rig, keys, site=made.site) as made.client:
        yield made


def lwm2m(directory: Path, **options: Any) -> Any:
    return site(directory, allow_plain=True, lwm2m=options)


def status(rig: Rig) -> dict[str, Any]:
    return rig.listener.status()["lwm2m"]


@pytest.mark.parametrize("formats", [(112, 110), (110,), (11542,)])
async def test_what_a_node_offers_becomes_readings(tmp_path: Path, formats: tuple[int, ...]):
    links = LINKS.replace(b"0 110 112 11542", " ".join(map(str, formats)).encode())
    async with lwm2m(tmp_path) as rig, node(rig, formats=formats) as there:
        answer = await there.register(links=links, lt=300, lvl="1.1", b="U")
        assert answer.code == CODES.CREATED
        assert answer.opt.location_path[0] == "rd"
        await until(lambda: status(rig)["observations"] == 3)
        assert rig.intake.values() == {
            "plain/temperature/0": 21.5,
            "plain/accelerometer/0/x": 0.5,
            "plain/accelerometer/0/y": 0.25,
            "plain/accelerometer/0/z": 9.75,
            "plain/light/0/on": True,
            "plain/light/0/dimmer": 40.0,
        }
        assert {record.name: record.unit for record in rig.intake.records}["plain/temperature/0"] == "Cel"
        for value in (22.5, 23.5, 24.5):
            there.thermometer.change(5700, value)
            await until(lambda value=value: rig.intake.values()["plain/temperature/0"] == value)
        assert status(rig)["notifications"] == 3


async def test_a_node_that_says_nothing_of_formats_chooses(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig, formats=(11542,)) as there:
        await there.register(links=b"</3303/0>,</3311/0>")
        await until(lambda: status(rig)["observations"] == 2)
        assert there.thermometer.asked == [None]
        assert rig.intake.values()["plain/temperature/0"] == 21.5


async def test_a_notification_is_acknowledged_once_it_is_stored(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register(links=b"</3303/0>", lt=300)
        await until(lambda: status(rig)["observations"] == 1)
        await until(lambda: not rig.intake.tokens)
        rig.intake.stores = False
        there.thermometer.change(5700, 30.0)
        await until(lambda: rig.intake.tokens)
        exchanges = there.client.context.request_interfaces[1].token_interface._active_exchanges
        await asyncio.sleep(0.1)
        assert exchanges
        rig.intake.store()
        await until(lambda: not exchanges)
        assert len(rig.intake.taken) == 2


async def test_a_value_by_itself_where_an_instance_cant_be_observed(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:

        class Plain(aiocoap.resource.ObservableResource):
            async def render_get(self, request: Any) -> Any:
                return aiocoap.Message(payload=b"19.5", content_format=0)

        there.site.remove_resource(("3303", "0"))
        there.site.add_resource(("3303", "0", "5700"), Plain())
        await there.register(links=b"</3303/0>")
        await until(lambda: "plain/temperature/0" in rig.intake.values())
        assert rig.intake.values() == {"plain/temperature/0": 19.5}


async def test_what_is_observed_already_is_not_observed_again(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        value = Instance((110,), "/3303/0", {5700: 19.5})
        there.site.remove_resource(("3303", "0"))
        there.site.add_resource(("3303", "0", "5700"), value)
        await there.register(links=b"</3303/0>,</3311/0>")
        await until(lambda: status(rig)["observations"] == 2)
        # The lamp's ends with an error, and is set up again.
        there.site.remove_resource(("3311", "0"))
        there.lamp.updated_state(aiocoap.Message(code=aiocoap.NOT_FOUND))
        await until(lambda: status(rig)["observations"] == 1)
        there.site.add_resource(("3311", "0"), there.lamp)
        await there.update()
        await until(lambda: status(rig)["observations"] == 2)
        rig.intake.taken.clear()
        value.change(5700, 20.5)
        await until(lambda: rig.intake.values()["plain/temperature/0"] == 20.5)
        await asyncio.sleep(0.1)
        assert len(rig.intake.taken) == 1


async def test_an_offer_that_changes_while_it_is_being_observed(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        there.thermometer.delay = 60
        await there.register(links=b"</3303/0>")
        await until(lambda: there.thermometer.asked)
        await there.update(b"</3311/0>")
        # At once: not when the node is next heard of.
        async with asyncio.timeout(2):
            await until(lambda: status(rig)["observations"] == 1)
        assert rig.intake.values() == {"plain/light/0/on": True, "plain/light/0/dimmer": 40.0}


async def test_paths_may_have_a_root(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        there.site.add_resource(("iot", "3303", "1"), Instance((110,), "/3303/1", {5700: 5.0}))
        await there.register(links=b'</iot>;rt="oma.lwm2m";ct=110,</iot/3303/1>')
        await until(lambda: rig.intake.values() == {"plain/temperature/1": 5.0})


async def test_a_node_sends_unasked(tmp_path: Path):
    pack = [{"bn": "/3303/0/", "n": "5700", "v": 18.5, "t": -60}, {"bn": "/3/0/", "n": "9", "v": 95}]
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        assert (await there.client.post("/dp", orjson.dumps(pack), 110)).code == CODES.NOT_FOUND
        await there.register(links=b"")
        rig.intake.stores = False
        sending = asyncio.create_task(there.client.post("/dp", orjson.dumps(pack), 110))
        await until(lambda: rig.intake.tokens)
        assert not sending.done()
        rig.intake.stores = True
        rig.intake.store()
        assert (await sending).code == CODES.CHANGED
        assert rig.intake.values() == {"plain/temperature/0": 18.5, "plain/3/0/9": 95.0}
        assert rig.intake.records[0].time == 1e9 - 60
        assert (await there.client.post("/dp", b"{", 110)).code == CODES.BAD_REQUEST
        assert (await there.client.post("/dp", b"x", 0)).code == CODES.UNSUPPORTED_CONTENT_FORMAT


async def test_updates_and_the_end(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register(links=b"</3303/0>", lt=60)
        await until(lambda: status(rig)["observations"] == 1)
        assert (await there.update(lt=600)).code == CODES.CHANGED
        assert (await there.update(b"</3303/0>,</3311/0>")).code == CODES.CHANGED
        await until(lambda: status(rig)["observations"] == 2)
        assert (await there.client.request(aiocoap.DELETE, there.location)).code == CODES.DELETED
        assert set(status(rig).values()) == {0}
        assert (await there.update(lt=600)).code == CODES.NOT_FOUND


async def test_a_node_that_registers_again_is_one(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register(links=b"</3303/0>")
        former = there.location
        await until(lambda: status(rig)["observations"] == 1)
        await there.register(links=b"</3303/0>")
        assert there.location != former
        await until(lambda: status(rig)["observations"] == 1)
        assert status(rig)["registered"] == 1


async def test_a_lifetime_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_gateway.listeners.lwm2m.registration.GRACE", -300.0)
    monkeypatch.setattr("iot_gateway.listeners.lwm2m.server.CHECK_SECONDS", 0.05)
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register(links=b"</3303/0>", lt=300)
        await until(lambda: status(rig)["registered"] == 0)


async def test_registrations_outlive_a_restart(tmp_path: Path):
    async with lwm2m(tmp_path) as rig:
        port = rig.port
        rig.options = replace(rig.options, port=port)
        async with node(rig) as there:
            await there.register(links=b"</3303/0>", lt=300)
            await until(lambda: status(rig)["observations"] == 1)
            await rig.restart()
            await until(lambda: status(rig)["observations"] == 1)
            there.thermometer.change(5700, 11.0)
            await until(lambda: rig.intake.values()["plain/temperature/0"] == 11.0)
            assert (await there.update(lt=300)).code == CODES.CHANGED


@pytest.mark.parametrize("queue", [False, True])
async def test_a_lifetime_goes_on_while_the_gateway_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: bool
):
    async with lwm2m(tmp_path) as rig:
        rig.options = replace(rig.options, port=rig.port)
        async with node(rig) as there:
            await there.register(links=b"</3303/0>", lt=60, **({"Q": True} if queue else {}))
            await until(lambda: status(rig)["observations"] == 1)

            async def away_for(seconds: float) -> None:
                await rig.stop()
                now = time.time
                monkeypatch.setattr("iot_gateway.listeners.lwm2m.registration.time.time", lambda: now() + seconds)
                rig.make()
                await rig.start()

            # An update that began in time may still be on its way.
            await away_for(150)
            assert status(rig)["registered"] == 1
            assert (await there.update()).code == CODES.CHANGED
            await away_for(154)
            assert status(rig)["registered"] == 0
            assert (await there.update()).code == CODES.NOT_FOUND
            assert (await there.register(links=b"</3303/0>", lt=60)).code == CODES.CREATED
            await until(lambda: status(rig)["observations"] == 1)


async def test_a_clock_that_was_set_back_makes_no_lifetime_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with lwm2m(tmp_path) as rig:
        rig.options = replace(rig.options, port=rig.port)
        async with node(rig) as there:
            await there.register(links=b"", lt=60)
            now = time.time
            monkeypatch.setattr("iot_gateway.listeners.lwm2m.registration.time.time", lambda: now() - 1e6)
            await rig.restart()
            (registration,) = rig.listener._lwm2m._registry
            assert registration.expires <= time.monotonic() + 60 + 93


async def test_a_sleeping_node_is_observed_anew_when_it_speaks(tmp_path: Path):
    async with lwm2m(tmp_path) as rig:
        rig.options = replace(rig.options, port=rig.port)
        async with node(rig) as there:
            await there.register(links=b"</3303/0>", lt=300, lvl="1.1", Q=True)
            await until(lambda: status(rig)["observations"] == 1)
            await rig.restart()
            await asyncio.sleep(0.1)
            assert status(rig) | {"registered": 1, "queue_mode": 1, "observations": 0} == status(rig)
            there.thermometer.change(5700, 11.0)
            await until(lambda: rig.intake.values()["plain/temperature/0"] == 11.0)
            assert status(rig)["observations"] == 1


@pytest.mark.parametrize("target", ["/3311/0/5851", "light/0/dimmer"])
async def test_a_command_is_a_write(tmp_path: Path, target: str):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register()
        await rig.desk.submit(CommandRequest(id="one", node="plain", target=target, value=60.0))
        await until(lambda: rig.desk.status()["by_state"]["applied"] == 1)
        assert there.dimmer.done == [("write", 0, b"60")]


async def test_a_command_without_a_value_is_an_execution(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register()
        await rig.desk.submit(CommandRequest(id="one", node="plain", target="/3311/0/5851"))
        await until(lambda: rig.desk.status()["by_state"]["applied"] == 1)
        assert there.dimmer.done == [("execute", None, b"")]


async def test_a_write_in_another_format(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        there.dimmer.formats = (110,)
        await there.register()
        await rig.desk.submit(CommandRequest(id="one", node="plain", target="/3311/0/5851", value=60.0))
        await until(lambda: rig.desk.status()["by_state"]["applied"] == 1)
        ((_, content_format, payload),) = there.dimmer.done
        assert (content_format, orjson.loads(payload)) == (110, [{"bn": "/3311/0/", "n": "5851", "v": 60}])


@pytest.mark.parametrize(
    ("target", "value", "reason"),
    [
        ("/3311/0/5851", 1.0, "4.05 Method Not Allowed: not here"),
        ("/3311/0/5850", 1.0, "4.04 Not Found"),
        ("/3311/0", 1.0, "/3311/0 is neither the path of a resource nor a name of one"),
        ("ceiling", 1.0, "ceiling is neither the path of a resource nor a name of one"),
        ("light/0/dimmer", "high", "'high' is no integer"),
    ],
)
async def test_a_command_that_is_refused(tmp_path: Path, target: str, value: Any, reason: str):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        there.dimmer.code = aiocoap.METHOD_NOT_ALLOWED
        await there.register()
        await rig.desk.submit(CommandRequest(id="one", node="plain", target=target, value=value))
        await until(lambda: rig.desk.status()["by_state"]["refused"] == 1)
        (command,) = await rig.desk.latest()
        assert command.as_dict()["reason"] == reason


async def test_a_command_waits_for_a_sleeping_node(tmp_path: Path):
    async with lwm2m(tmp_path, awake_seconds=1) as rig, node(rig) as there:
        await there.register(lvl="1.0", b="UQ")
        await until(lambda: status(rig)["observations"] == 3)
        await asyncio.sleep(1.1)
        await rig.desk.submit(CommandRequest(id="one", node="plain", target="light/0/dimmer", value=60.0))
        await asyncio.sleep(0.3)
        assert rig.desk.status()["by_state"]["queued"] == 1
        assert there.dimmer.done == []
        await there.update()
        await until(lambda: rig.desk.status()["by_state"]["applied"] == 1)


async def test_a_node_that_does_not_answer_keeps_its_command(tmp_path: Path):
    async with lwm2m(tmp_path, answer_seconds=1) as rig, node(rig) as there:
        there.dimmer.delay = 3
        await there.register(lvl="1.1", Q=True)
        await until(lambda: status(rig)["observations"] == 3)
        await rig.desk.submit(CommandRequest(id="one", node="plain", target="light/0/dimmer", value=60.0))
        await asyncio.sleep(1.5)
        assert rig.desk.status()["by_state"]["queued"] == 1
        there.dimmer.delay = 0
        await there.update()
        await until(lambda: rig.desk.status()["by_state"]["applied"] == 1)


async def test_all_of_it_through_oscore(tmp_path: Path):
    async with site(tmp_path, lwm2m={}) as rig, node(rig, rig.keys["kitchen"]) as there:
        # A context works both ways: the gateway asks under the same keys.
        (side,) = there.client.context.client_credentials.values()
        there.client.context.serversite = aiocoap.oscore_sitewrapper.OscoreSiteWrapper(
            there.site, there.client.context.server_credentials
        )
        assert (await there.register("kitchen", lt=300)).code == CODES.CREATED
        await until(lambda: status(rig)["observations"] == 3)
        there.thermometer.change(5700, 30.0)
        await until(lambda: rig.intake.values()["kitchen/temperature/0"] == 30.0)
        await rig.desk.submit(CommandRequest(id="one", node="kitchen", target="light/0/dimmer", value=60.0))
        await until(lambda: rig.desk.status()["by_state"]["applied"] == 1)
        assert there.dimmer.done == [("write", 0, b"60")]
        pack = b'[{"n":"/3303/0/5700","v":12.5}]'
        assert (await there.client.post("/dp", pack, 110)).code == CODES.CHANGED
        assert side.sender_sequence_number >= 2


async def test_nobody_registers_as_another(tmp_path: Path):
    async with site(tmp_path, lwm2m={}) as rig, node(rig, rig.keys["kitchen"]) as there:
        assert (await there.register("office")).code == CODES.UNAUTHORIZED
        assert (await there.register("kitchen", lt=300)).code == CODES.CREATED
        async with client(rig, rig.keys["office"]) as other:
            assert (await other.request(aiocoap.DELETE, there.location)).code == CODES.UNAUTHORIZED
        assert status(rig)["registered"] == 1
        rig.nodes.replace({name: each for name, each in rig.known().items() if name != "kitchen"})
        assert status(rig)["registered"] == 0


@pytest.mark.parametrize(
    ("name", "query", "code"),
    [
        ("nobody", {}, CODES.UNAUTHORIZED),
        ("banned", {}, CODES.UNAUTHORIZED),
        ("kitchen", {}, CODES.UNAUTHORIZED),
        ("plain", {"lt": "soon"}, CODES.BAD_REQUEST),
        ("plain", {"lt": "0"}, CODES.BAD_REQUEST),
    ],
)
async def test_registrations_that_are_refused(tmp_path: Path, name: str, query: dict[str, str], code: Any):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        assert (await there.register(name, **query)).code == code
        assert status(rig)["registered"] == 0


async def test_no_more_nodes_than_there_may_be(tmp_path: Path):
    async with lwm2m(tmp_path, max_nodes=1) as rig, node(rig) as there, node(rig) as other:
        assert (await there.register("plain", links=b"")).code == CODES.CREATED
        assert (await other.register("plain-2", links=b"")).code == CODES.SERVICE_UNAVAILABLE
        assert (await there.register("plain", links=b"")).code == CODES.CREATED


@pytest.mark.parametrize(
    "text", [b"", b"<", b"</3303/0", b'</3303/0>;a="', b"\xc3\xa9", b",,,;;;<<<>>>", b"</3303/99999>"]
)
async def test_odd_offers_do_no_harm(tmp_path: Path, text: bytes):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        assert (await there.register(links=text)).code == CODES.CREATED


async def test_what_is_not_there(tmp_path: Path):
    async with lwm2m(tmp_path) as rig, node(rig) as there:
        await there.register(links=b"")
        assert (await there.client.request(aiocoap.GET, there.location)).code == CODES.METHOD_NOT_ALLOWED
        assert (await there.client.request(aiocoap.GET, "/rd")).code == CODES.NOT_FOUND
        assert (await there.client.post("/rd/x/y", b"")).code == CODES.NOT_FOUND
        assert (await there.client.post("/rd", b"", 0, query="ep=plain")).code == CODES.UNSUPPORTED_CONTENT_FORMAT


class RawNode:
    """A node that sends bytes: it registers, answers the observation, and notifies as a test says."""

    def __init__(self, rig: Rig):
        self.wire = Raw(rig)
        self.token = b""

    def __enter__(self) -> "RawNode":
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    async def register(self) -> None:
        self.wire.send(b"\x41\x02\x00\x01t" + b"\xb2rd" + b"\x11\x28" + b"\x38ep=plain" + b"\xff</3303/0>")
        answer = await self.wire.receive()
        assert answer is not None
        assert answer[:2] == b"\x61\x41"
        await self.answer(1, 21.5)

    async def answer(self, number: int | None, value: float) -> None:
        """Answer a GET, with the option Observe or without."""
        request = await self.wire.receive()
        assert request is not None
        self.token = request[4 : 4 + (request[0] & 15)]
        self.wire.send(self._content(0x60, request[2:4], number, value))

    def _content(self, first: int, identifier: bytes, number: int | None, value: float) -> bytes:
        # Observe (6), Content-Format (12)
        options = b"\xc1\x6e" if number is None else bytes((0x61, number)) + b"\x61\x6e"
        payload = b'[{"n":"/3303/0/5700","v":%.2f}]' % value
        return bytes((first | len(self.token), 0x45)) + identifier + self.token + options + b"\xff" + payload

    def notify(self, identifier: int, number: int | None, value: float, *, token: bytes | None = None) -> None:
        former, self.token = self.token, self.token if token is None else token
        self.wire.send(self._content(0x40, identifier.to_bytes(2, "big"), number, value))
        self.token = former


class Still(aiocoap.resource.Resource):
    """An instance that can be read, and not observed."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value
        self.asked: list[int | None] = []

    async def render_get(self, request: Any) -> Any:
        self.asked.append(request.opt.observe)
        return aiocoap.Message(payload=b'[{"n":"/3303/0/5700","v":%.2f}]' % self.value, content_format=110)


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iot_gateway.listeners.lwm2m.server.CHECK_SECONDS", 0.05)


async def test_what_a_node_does_not_observe_is_polled(tmp_path: Path, quick_checks: None):
    async with lwm2m(tmp_path, poll_seconds=1) as rig, node(rig) as there:
        still = Still(19.5)
        there.site.remove_resource(("3303", "0"))
        there.site.add_resource(("3303", "0"), still)
        await there.register(links=b"</3303/0>,</3311/0>")
        await until(lambda: status(rig)["observations"] == 1)
        assert status(rig)["polled"] == 1
        assert rig.intake.values()["plain/temperature/0"] == 19.5
        still.value = 20.5
        await until(lambda: rig.intake.values()["plain/temperature/0"] == 20.5)
        # Each time it may have found room.
        assert set(still.asked) == {0}
        there.site.remove_resource(("3303", "0"))
        there.site.add_resource(("3303", "0"), there.thermometer)
        await until(lambda: status(rig)["observations"] == 2)
        assert status(rig)["polled"] == 0
        there.thermometer.change(5700, 22.5)
        await until(lambda: rig.intake.values()["plain/temperature/0"] == 22.5)
        assert len(there.lamp.asked) == 1


async def test_values_that_are_polled_one_by_one(tmp_path: Path, quick_checks: None):
    async with lwm2m(tmp_path, poll_seconds=1) as rig, node(rig) as there:
        there.site.remove_resource(("3303", "0"))
        there.site.add_resource(("3303", "0", "5700"), Still(19.5))
        await there.register(links=b"</3303/0>")
        await until(lambda: status(rig)["polled"] == 1)
        rig.intake.taken.clear()
        await until(lambda: rig.intake.taken)
        assert {topic for _, topic, _ in rig.intake.taken} == {"plain/3303/0/5700"}
        await there.update(b"</3311/0>")
        await until(lambda: status(rig)["observations"] == 1)
        assert status(rig)["polled"] == 0


async def test_a_sleeping_node_is_polled_when_it_speaks(tmp_path: Path, quick_checks: None):
    async with lwm2m(tmp_path, poll_seconds=1, awake_seconds=1) as rig, node(rig) as there:
        still = Still(19.5)
        there.site.remove_resource(("3303", "0"))
        there.site.add_resource(("3303", "0"), still)
        await there.register(links=b"</3303/0>", lvl="1.1", Q=True)
        await until(lambda: status(rig)["polled"] == 1)
        await asyncio.sleep(1.5)
        asked = len(still.asked)
        await asyncio.sleep(0.5)
        assert len(still.asked) == asked
        await there.update()
        await until(lambda: len(still.asked) == asked + 1)


async def test_a_notification_without_the_option_is_the_last_one(tmp_path: Path, quick_checks: None):
    async with lwm2m(tmp_path) as rig:
        with RawNode(rig) as node:
            await node.register()
            await until(lambda: status(rig)["observations"] == 1)
            node.notify(7, None, 22.5)
            assert await node.wire.receive() == b"\x60\x00\x00\x07"
            await until(lambda: rig.intake.values()["plain/temperature/0"] == 22.5)
            # It is asked again at once, being awake.
            await node.answer(None, 23.5)
            await until(lambda: rig.intake.values()["plain/temperature/0"] == 23.5)
            assert status(rig) | {"observations": 0, "polled": 1} == status(rig)


async def test_notifications_that_are_repeated(tmp_path: Path):
    async with lwm2m(tmp_path) as rig:
        with RawNode(rig) as node:
            await node.register()
            await until(lambda: status(rig)["observations"] == 1 and not rig.intake.tokens)
            rig.intake.stores = False
            node.notify(7, 2, 22.5)
            await until(lambda: rig.intake.tokens)
            node.notify(7, 2, 22.5)
            assert await node.wire.receive(0.1) is None
            assert len(rig.intake.taken) == 2
            rig.intake.store()
            assert await node.wire.receive() == b"\x60\x00\x00\x07"
            node.notify(7, 2, 22.5)
            assert await node.wire.receive() == b"\x60\x00\x00\x07"
            assert len(rig.intake.taken) == 2


async def test_a_notification_that_cant_be_stored_comes_again(tmp_path: Path):
    async with lwm2m(tmp_path) as rig:
        with RawNode(rig) as node:
            await node.register()
            await until(lambda: status(rig)["observations"] == 1 and not rig.intake.tokens)
            rig.intake.source.pause()
            node.notify(7, 2, 22.5)
            assert await node.wire.receive(0.1) is None
            assert len(rig.intake.taken) == 1
            rig.intake.source.resume()
            node.notify(7, 2, 22.5)
            assert await node.wire.receive() == b"\x60\x00\x00\x07"
            assert len(rig.intake.taken) == 2


async def test_a_stray_notification_is_reset(tmp_path: Path):
    async with lwm2m(tmp_path) as rig:
        with RawNode(rig) as node:
            node.notify(9, 2, 22.5, token=b"stray")
            assert await node.wire.receive() == b"\x70\x00\x00\x09"
            assert rig.intake.taken == []


async def test_a_node_that_ends_an_observation_is_observed_anew(tmp_path: Path):
    async with lwm2m(tmp_path) as rig:
        with RawNode(rig) as node:
            await node.register()
            await until(lambda: status(rig)["observations"] == 1)
            # 4.04 instead of a value
            node.wire.send(bytes((0x40 | len(node.token), 0x84)) + b"\x00\x09" + node.token + b"\x61\x05")
            assert await node.wire.receive() == b"\x60\x00\x00\x09"
            await until(lambda: status(rig)["observations"] == 0)
