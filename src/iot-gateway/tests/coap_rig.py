"""A CoAP listener on a port of the loopback, and nodes made of aiocoap's client."""

import asyncio
import contextlib
import socket
import warnings
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiocoap
from aiocoap.credentials import CredentialsMap
from aiocoap.oscore import CanProtect, CanUnprotect, ReplayWindow, SecurityContextUtils, algorithms, hashfunctions
from listener_rig import ListenerRig, SilentChain

from iot_gateway.desk import Book, Desk
from iot_gateway.interfaces import Core
from iot_gateway.listeners.coap import CoapListener, CoapOptions
from iot_gateway.listeners.coap.security import IDENTIFIER, SALT, SECRET, make_keys
from iot_gateway.nodes import Node, Nodes
from iot_telemetry import MalformedPayloadError, senml

PACK = b'[{"n":"kitchen/t","v":21.5}]'


class Intake:
    """Reads what it is offered, and acknowledges it unless told not to."""

    def __init__(self):
        self.taken: list[tuple[str, str, bytes]] = []
        self.records: list[senml.SenmlRecord] = []
        self.tokens: list[Any] = []
        self.stores = True
        self.source: Any = None

    def offer(self, source: Any, node: str, topic: str, payload: bytes, token: Any, decode: Any = None) -> bool:
        self.source = source
        self.taken.append((node, topic, payload))
        good = True
        try:
            self.records += (decode or senml.decode)(payload, 1e9)
        except MalformedPayloadError as error:
            good = False
            if token is not None:
                token = source.refused(token, error.reason)
        if token is not None:
            self.tokens.append(token)
            if self.stores:
                asyncio.get_running_loop().call_soon(self.store)
        return good

    def store(self) -> None:
        tokens, self.tokens = self.tokens, []
        if tokens:
            self.source.acknowledge(tokens)

    def values(self) -> dict[str, Any]:
        return {
            record.name: next(x for x in (record.value, record.text, record.flag) if x is not None)
            for record in self.records
        }


class NodeSide(CanProtect, CanUnprotect, SecurityContextUtils):
    """A node's end of an OSCORE context."""

    alg_aead = algorithms["AES-CCM-16-64-128"]
    hashfun = hashfunctions["sha256"]
    id_context = None

    def __init__(self, keys: dict[str, str], gateway_id: str = "00"):
        self.sender_id, self.recipient_id = bytes.fromhex(keys[IDENTIFIER]), bytes.fromhex(gateway_id)
        self.derive_keys(bytes.fromhex(keys[SALT]), bytes.fromhex(keys[SECRET]))
        self.sender_sequence_number = 0
        self.recipient_replay_window = ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()
        self.echo_recovery = None

    def post_seqnoincrease(self) -> None:
        pass


class Rig(ListenerRig):
    def __init__(self, directory: Path, **options: Any):
        self.directory = directory
        self.keys = {name: make_keys(name) for name in ("kitchen", "office", "banned")}
        self.nodes = Nodes(self.known())
        self.intake = Intake()
        self.desk = Desk(Book(directory / "commands.db"), SilentChain())
        self.options = CoapOptions.read({"port": 0, **options})
        self.make()

    def known(self) -> dict[str, Node]:
        with_keys = {
            name: Node(name, keys=keys, protocols=frozenset({"mqtt"}) if name == "banned" else None)
            for name, keys in self.keys.items()
        }
        return {**with_keys, "plain": Node("plain"), "plain-2": Node("plain-2")}

    def make(self) -> None:
        self.listener = CoapListener(self.options, Core(self.intake, self.nodes, self.desk, self.directory))

    @property
    def port(self) -> int:
        return self.listener._endpoint.ports[0].socket.getsockname()[1]

    async def restart(self, *, killed: bool = False) -> None:
        await self.stop()
        if killed:
            (self.directory / "coap" / "windows.json").unlink(missing_ok=True)
        self.make()
        await self.start()


@contextlib.asynccontextmanager
async def site(directory: Path, **options: Any) -> AsyncGenerator[Rig]:
    made = Rig(directory, **options)
    async with made.desk.closing():
        await made.start()
        desk = asyncio.create_task(made.desk.run())
        try:
            yield made
        finally:
            await made.stop()
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)


class Client:
    """A node: aiocoap, with or without OSCORE."""

    def __init__(self, rig: Rig, context: aiocoap.Context):
        self.rig = rig
        self.context = context

    async def request(self, code: Any, path: str, payload: bytes = b"", *, query: str = "", **options: Any) -> Any:
        uri = f"coap://127.0.0.1:{self.rig.port}{path}{'?' if query else ''}{query}"
        message = aiocoap.Message(code=code, uri=uri, payload=payload, **options)
        async with asyncio.timeout(20):
            return await self.context.request(message).response

    async def post(self, path: str, payload: bytes, content_format: int | None = 110, **more: Any) -> Any:
        return await self.request(aiocoap.POST, path, payload, content_format=content_format, **more)


@contextlib.asynccontextmanager
async def client(rig: Rig, keys: dict[str, str] | None = None, *, site: Any = None) -> AsyncGenerator[Client]:
    credentials = CredentialsMap()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if site is None:
            context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
        else:
            context = await aiocoap.Context.create_server_context(
                site, bind=("127.0.0.1", 0), transports=["oscore", "udp6"]
            )
    context.client_credentials = context.server_credentials = credentials
    if keys is not None:
        credentials[f"coap://127.0.0.1:{rig.port}/*"] = NodeSide(keys)
    try:
        yield Client(rig, context)
    finally:
        # aiocoap complains of what it took and never began to answer.
        await asyncio.sleep(0.02)
        await context.shutdown()


class Raw:
    """A node that sends bytes."""

    def __init__(self, rig: Rig):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", rig.port))

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    async def receive(self, seconds: float = 5.0) -> bytes | None:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().sock_recv(self._socket, 65535)
        except TimeoutError:
            return None

    def close(self) -> None:
        self._socket.close()
