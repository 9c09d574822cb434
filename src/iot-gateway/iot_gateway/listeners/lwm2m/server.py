"""The LwM2M server: what nodes ask of it, and what it keeps of them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiocoap is only partly typed.

import asyncio
import logging
import time
from pathlib import Path
from typing import Any, Final

import orjson
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.contentformat import ContentFormat
from aiocoap.transports.oscore import OSCOREAddress

from iot_gateway.files import replace_file
from iot_gateway.interfaces import Core
from iot_gateway.listeners.coap import wire
from iot_gateway.listeners.coap.address import Address
from iot_gateway.listeners.coap.endpoint import Endpoint
from iot_gateway.listeners.coap.options import Lwm2mOptions
from iot_gateway.listeners.coap.security import Contexts
from iot_gateway.listeners.coap.site import Peer, Waiting, content_format, message, queries
from iot_gateway.listeners.coap.storing import Storing
from iot_gateway.listeners.coap.telemetry import PROTOCOL, RefusedError
from iot_gateway.listeners.lwm2m import values
from iot_gateway.listeners.lwm2m.courier import Lwm2mCourier, answered
from iot_gateway.listeners.lwm2m.observing import Observing
from iot_gateway.listeners.lwm2m.registration import DEFAULT_LIFETIME, Offer, Registration, Registry

logger = logging.getLogger(__name__)

REGISTER, SEND = "rd", "dp"
CHECK_SECONDS: Final = 5.0


class Lwm2mServer:
    """Registrations, observations and commands of LwM2M."""

    links = '</rd>;rt="core.rd",</dp>;ct="110 112"'

    def __init__(self, options: Lwm2mOptions, core: Core, endpoint: Endpoint, storing: Storing, contexts: Contexts):
        self.options = options
        self.sends = 0
        """Send operations since the start."""
        self._core = core
        self._endpoint = endpoint
        self._storing = storing
        self._contexts = contexts
        self._registry = Registry()
        self._observing = Observing(endpoint, storing, options, self._awake)
        self._courier = Lwm2mCourier(self._registry, self._ask)
        self._file = core.state / "coap" / "registrations.json"

    async def run(self) -> None:
        """Go on with who registered before; then look after lifetimes until cancelled."""
        self._restore()
        detach = self._core.desk.attach(self._courier)
        self._endpoint.messages.on_stray = self._stray
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                for registration in self._registry.expired():
                    logger.info("node %s was not heard of for its lifetime", registration.node)
                    self._drop(registration)
                for registration in self._registry:
                    if registration.due:
                        self._observing.begin(registration)
                if self._registry.changed:
                    self._registry.changed = False
                    await asyncio.to_thread(_write, self._file, self._saved())
        finally:
            detach()
            await self._observing.close()
            _write(self._file, self._saved())

    # What nodes ask

    async def render(self, peer: Peer, request: Any, payload: bytes) -> Message:
        """Answer a node."""
        path, code = request.opt.uri_path, request.code
        if path == (REGISTER,) and code is Code.POST:
            return self._register(peer, request, payload)
        if path == (SEND,) and code is Code.POST:
            return await self._send(peer, request, payload)
        if len(path) != 2 or path[0] != REGISTER:
            raise RefusedError(wire.NOT_FOUND)
        registration = self._registry.by_id(path[1])
        if registration is None:
            raise RefusedError(wire.NOT_FOUND, "no such registration")
        self._check_owner(peer, registration)
        if code is Code.POST:
            return self._update(peer, registration, request, payload)
        if code is Code.DELETE:
            logger.info("node %s leaves", registration.node)
            self._drop(registration)
            return Message(code=Code.DELETED)
        return Message(code=Code.METHOD_NOT_ALLOWED)

    def _register(self, peer: Peer, request: Any, payload: bytes) -> Message:
        asked = queries(request)
        if content_format(request) not in (None, ContentFormat.LINKFORMAT):
            raise RefusedError(wire.UNSUPPORTED_FORMAT, "link format (40) is expected")
        node = peer.admit(PROTOCOL, asked.get("ep"))
        if len(self._registry) >= self.options.max_nodes and self._registry.of_node(node) is None:
            return message(wire.UNAVAILABLE, "too many nodes are registered", 60)
        registration = Registration(
            self._registry.new_identifier(),
            node,
            peer.remote,
            self._lifetime(asked.get("lt")) or DEFAULT_LIFETIME,
            _is_queue(asked) or False,
            Offer.parse(_text(payload)),
            peer.proven is not None,
        )
        registration.renew()
        former = self._registry.add(registration)
        if former is not None:
            self._observing.end(former)
        logger.info(
            "node %s registers for %d s: %d instances", node, registration.lifetime, len(registration.offer.instances)
        )
        self._awake(registration, soon=True)
        answer: Any = Message(code=Code.CREATED)
        answer.opt.location_path = (REGISTER, registration.identifier)
        return answer

    def _update(self, peer: Peer, registration: Registration, request: Any, payload: bytes) -> Message:
        asked = queries(request)
        registration.lifetime = self._lifetime(asked.get("lt")) or registration.lifetime
        queue = _is_queue(asked)
        registration.queue = registration.queue if queue is None else queue
        registration.renew()
        moved = self._registry.move(registration, peer.remote)
        offer = Offer.parse(_text(payload)) if payload else registration.offer
        if moved or offer != registration.offer:
            # Notifications that come from elsewhere are not known to belong to what was asked for there.
            self._observing.end(registration)
            registration.wanting = True
        registration.offer = offer
        self._registry.changed = True
        self._awake(registration, soon=True)
        return Message(code=Code.CHANGED)

    async def _send(self, peer: Peer, request: Any, payload: bytes) -> Message:
        """Take what a node says unasked (LwM2M 1.1 core, section 6.4.6)."""
        proven = peer.proven
        registration = self._registry.at(peer.address) if proven is None else self._registry.of_node(proven)
        if registration is None:
            raise RefusedError(wire.NOT_FOUND, "not registered")
        self._check_owner(peer, registration)
        given = content_format(request)
        if given not in (values.SENML_JSON, values.SENML_CBOR):
            raise RefusedError(wire.UNSUPPORTED_FORMAT, "SenML in JSON (110) or CBOR (112) is expected")
        self.sends += 1
        self._awake(registration)
        pending = Waiting()
        decode = values.decoder(registration.node, given, (), registration.units, known_only=False)
        self._storing.offer(registration.node, f"{registration.node}/{SEND}", payload, decode, pending)
        return await pending.answer()

    @staticmethod
    def _check_owner(peer: Peer, registration: Registration) -> None:
        if registration.secure != (peer.proven is not None):
            raise RefusedError(wire.UNAUTHORIZED)
        peer.admit(PROTOCOL, registration.node)

    def _lifetime(self, given: str | None) -> int:
        if not given:
            return 0
        if not given.isascii() or not given.isdigit() or not int(given[:12]):
            raise RefusedError(wire.BAD_REQUEST, "lt is no number of seconds")
        return min(int(given[:12]), self.options.max_lifetime)

    # What is known of nodes

    def _stray(self, address: Any) -> None:
        """Observe anew: a node reports on what it was asked before the gateway was started again."""
        registration = self._registry.at(address)
        if registration is not None:
            registration.wanting = True
            self._awake(registration)

    def _awake(self, registration: Registration, *, soon: bool = False) -> None:
        """Do what waited for a node that has spoken just now."""
        was_reachable = registration.reachable
        registration.awake_until = time.monotonic() + self.options.awake_seconds
        if not (soon or registration.wanting or not was_reachable):
            return
        # Behind the answer that it waits for.
        asyncio.get_running_loop().call_soon(self._attend, registration)

    def _attend(self, registration: Registration) -> None:
        if self._registry.of_node(registration.node) is registration:
            if registration.wanting or registration.due:
                self._observing.begin(registration)
            self._core.desk.arrived(registration.node)

    async def _ask(self, registration: Registration, request: Any) -> Any:
        request.remote = registration.remote
        return await answered(self._endpoint.context.request(request), self.options.answer_seconds)

    def _drop(self, registration: Registration) -> None:
        self._observing.end(registration)
        self._registry.remove(registration)

    def forget(self, names: set[str]) -> None:
        """Have these nodes register again, if they still may."""
        for name in names:
            registration = self._registry.of_node(name)
            if registration is not None:
                self._drop(registration)

    # What is written down

    def _saved(self) -> bytes:
        return orjson.dumps(
            [
                {
                    "identifier": registration.identifier,
                    "node": registration.node,
                    "port": registration.address.port.local,
                    "peer": registration.address.peer,
                    "lifetime": registration.lifetime,
                    "expires": round(registration.expires_at, 3),
                    "queue": registration.queue,
                    "root": registration.offer.root,
                    "instances": registration.offer.instances,
                    "formats": sorted(registration.offer.formats),
                    "secure": registration.secure,
                }
                for registration in self._registry
            ]
        )

    def _restore(self) -> None:
        try:
            saved: list[dict[str, Any]] = orjson.loads(self._file.read_bytes()) if self._file.exists() else []
            for fields in saved:
                self._restore_one(fields)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("nodes that registered before will have to register again: %s", error)
        self._registry.changed = False

    def _restore_one(self, fields: dict[str, Any]) -> None:
        node = self._core.nodes.lookup(fields["node"])
        port = next((port for port in self._endpoint.ports if port.local == fields["port"]), None)
        if node is None or not node.may_use(PROTOCOL) or port is None:
            return
        remote: Any = Address(port, tuple(fields["peer"]))
        if fields["secure"]:
            context = self._contexts.of_node(node)
            if context is None:
                return
            remote = OSCOREAddress(context, remote)
        registration = Registration(
            fields["identifier"],
            fields["node"],
            remote,
            fields["lifetime"],
            fields["queue"],
            Offer(
                tuple(fields["root"]),
                tuple(tuple(instance) for instance in fields["instances"]),
                frozenset(fields["formats"]),
            ),
            fields["secure"],
        )
        registration.resume(fields["expires"])
        if registration.expires <= time.monotonic():
            logger.info("node %s was not heard of for its lifetime, during which the gateway was away", node.name)
            return
        self._registry.add(registration)
        if not registration.queue:
            self._observing.begin(registration)

    def status(self) -> dict[str, Any]:
        """Return how many nodes are registered, and what they said."""
        registered = list(self._registry)
        return {
            "registered": len(registered),
            "queue_mode": sum(registration.queue for registration in registered),
            "observations": sum(len(registration.observed) for registration in registered),
            "polled": sum(len(registration.polled) for registration in registered),
            "notifications": self._observing.notifications,
            "sends": self.sends,
        }


def _is_queue(asked: dict[str, str]) -> bool | None:
    """Tell whether a node is in queue mode: ``Q`` (LwM2M 1.1), or a binding with a Q (1.0); None if it says nothing."""
    if "Q" in asked:
        return True
    return "Q" in asked["b"] if "b" in asked else None


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(wire.BAD_REQUEST, "not UTF-8") from error


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        logger.warning("registrations are not written down: %s", error)
