"""The ZeroMQ listener.

Two sockets, both with CURVE:

- **PULL** for nodes that PUSH: one frame a payload, or two, the topic and the payload. Nothing is acknowledged: what
  queues and the kernel hold when the gateway dies is lost. While the gateway can't store, it takes nothing, and the
  node's PUSH blocks at its high-water mark.
- **ROUTER** for nodes with a DEALER: a first frame says what the message is.

  ========================================  ==================================================================
  ``telemetry <identifier> <payload>``      from the node; answered by ``stored <identifier>`` once it is on disk
  ``hello``                                 from the node: it is there and takes commands; answered by ``welcome``
  ``command <JSON>``                        to the node: ``id``, ``target``, ``value``, ``expires``
  ``command-state <JSON>``                  from the node: ``id``, ``state``, ``reason``
  ========================================  ==================================================================

A payload that begins as a CBOR array is SenML in CBOR, any other SenML in JSON, or plain as the configuration has it
for the topic: ``<node>/<topic>``, or the node's name where there is none.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Self, cast

import zmq
import zmq.asyncio
from pydantic import Field, SecretStr, field_validator, model_validator

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.desk import Command, Courier, NodeReport, NotReachedError, State
from iot_gateway.desk.errors import CommandError
from iot_gateway.listeners.zeromq.admission import DOMAIN, PROTOCOL, CurveAdmission
from iot_telemetry import senml_cbor

logger = logging.getLogger(__name__)

MAX_MESSAGE: Final = 1 << 20
HEARTBEAT_MS: Final = 30_000
Taker = Callable[[zmq.asyncio.Socket], Coroutine[Any, Any, None]]
_CBOR_ARRAYS: Final = range(0x80, 0xA0)


class ZeroMqOptions(interfaces.Options):
    """Settings of the listener."""

    addresses: list[str] = Field(default=["127.0.0.1"], min_length=1, max_length=16)
    """Where nodes reach it; IPv4 or IPv6."""
    pull_port: int = Field(default=5560, ge=0, le=65535)
    """For telemetry by PUSH; 0 for none."""
    router_port: int = Field(default=5561, ge=0, le=65535)
    """For DEALER; 0 for none."""
    secret_key: SecretStr
    """The gateway's own, in Z85; nodes are given its public key."""
    queue: int = Field(default=1000, ge=1, le=100_000)
    """Messages of one node that may wait here; then the node's own queue fills."""

    @field_validator("secret_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        try:
            zmq.curve_public(value.get_secret_value().encode())
        except (ValueError, zmq.ZMQError) as error:
            raise ValueError("no CURVE key in Z85, 40 characters") from error
        return value

    @model_validator(mode="after")
    def _has_a_port(self) -> Self:
        if not (self.pull_port or self.router_port):
            raise ValueError("pull_port or router_port must be another than 0")
        return self


class ZeroMqListener(interfaces.Listener):
    """Takes telemetry from ZeroMQ nodes, and carries commands to them."""

    Options = ZeroMqOptions

    def __init__(self, options: ZeroMqOptions, core: interfaces.Core):
        self.options = options
        self._core = core
        self._error: str | None = None
        self._listening = False
        self._quiet = False
        self._received = 0
        self._admission: CurveAdmission | None = None
        self._pull = _PullSource()
        self._dealers = Dealers(core)

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(longest=5.0)
        while True:
            try:
                await self._listen()
            except* zmq.ZMQError as errors:
                # Alone where a socket can't be bound, in a group where a bound one fails.
                self._error = str(errors.exceptions[0])
                delay = backoff.next()
                logger.error("ZeroMQ can't listen, again in %.1f s: %s", delay, self._error)
                await asyncio.sleep(delay)

    async def _listen(self) -> None:
        context = zmq.asyncio.Context()
        ends: list[Callable[[], None]] = [lambda: context.destroy(linger=0)]
        try:
            self._admission = CurveAdmission(context, self._core.nodes)
            self._admission.start()
            ends.append(self._admission.stop)
            takers: list[tuple[Taker, zmq.asyncio.Socket]] = []
            if self.options.pull_port:
                takers.append((self._take, self._bind(context, zmq.PULL, self.options.pull_port)))
            if self.options.router_port:
                self._dealers.router = self._bind(context, zmq.ROUTER, self.options.router_port)
                takers.append((self._talk, self._dealers.router))
            ends.append(self._core.desk.attach(self._dealers))
            ends.append(self._core.nodes.on_change(self._dealers.forget))
            self._listening, self._error = True, None
            async with asyncio.TaskGroup() as tasks:
                for take, bound in takers:
                    tasks.create_task(take(bound))
        finally:
            self._listening = False
            for end in reversed(ends):
                end()

    def _bind(self, context: zmq.asyncio.Context, kind: int, port: int) -> zmq.asyncio.Socket:
        made = context.socket(kind)
        made.curve_server = True
        made.curve_secretkey = self.options.secret_key.get_secret_value().encode()
        made.zap_domain = DOMAIN.encode()
        made.rcvhwm = self.options.queue
        made.maxmsgsize = MAX_MESSAGE
        made.heartbeat_ivl = HEARTBEAT_MS
        made.ipv6 = True
        if kind == zmq.ROUTER:
            made.router_mandatory = True
        for address in dict.fromkeys(self.options.addresses):
            made.bind(f"tcp://{f'[{address}]' if ':' in address else address}:{port}")
            logger.info("ZeroMQ %s at %s:%d", "PULL" if kind == zmq.PULL else "ROUTER", address, port)
        return made

    async def _take(self, pull: zmq.asyncio.Socket) -> None:
        while True:
            await self._pull.open.wait()
            if self._quiet:
                await asyncio.Event().wait()
            frames = await pull.recv_multipart(copy=False)
            node = _user(frames[0])
            topic = f"{node}/{_text(frames[0])}" if len(frames) > 1 else node
            self._received += 1
            payload = frames[-1].bytes
            self._core.intake.offer(self._pull, node, topic, payload, None, _decoder(payload))

    async def _talk(self, router: zmq.asyncio.Socket) -> None:
        while True:
            await self._dealers.open.wait()
            if self._quiet:
                await asyncio.Event().wait()
            identity, *frames = await router.recv_multipart(copy=False)
            if frames:
                self._received += 1
                await self._dealers.hear(identity.bytes, _user(frames[0]), [frame.bytes for frame in frames])

    def quiesce(self) -> None:
        """Take no more; what was taken is still acknowledged."""
        self._quiet = True

    def status(self) -> dict[str, Any]:
        """Return ``connected`` (it listens), ``error``, and its figures."""
        return {
            "connected": self._listening,
            "error": self._error,
            "received": self._received,
            "refused": self._admission.refused if self._admission else 0,
            "clients": len(self._dealers.identities),
        }


class _PullSource:
    """Where payloads of PUSH come from: nobody who could be told that they are stored."""

    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Nobody waits for it."""

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """Nobody waits for it."""
        return token

    def pause(self) -> None:
        """Take nothing: the nodes' own queues fill, and their PUSH blocks."""
        self.open.clear()

    def resume(self) -> None:
        """Take again."""
        self.open.set()


class Dealers(_PullSource, Courier):
    """The nodes that have a DEALER: their telemetry is acknowledged, and commands reach them."""

    protocol = PROTOCOL

    def __init__(self, core: interfaces.Core):
        super().__init__()
        self._core = core
        self.router: zmq.asyncio.Socket | None = None
        self.identities: dict[str, bytes] = {}
        """Node -> the connection that it spoke over last."""

    def forget(self, names: set[str]) -> None:
        """Reach these nodes no more, until they speak again."""
        for name in names:
            self.identities.pop(name, None)

    async def hear(self, identity: bytes, node: str, frames: list[bytes]) -> None:
        """Take a message of a node."""
        if self._core.nodes.lookup(node) is None:
            return  # its connection is older than its removal
        match frames:
            case [b"telemetry", identifier, payload]:
                token = (identity, identifier)
                self._core.intake.offer(self, node, node, payload, token, _decoder(payload))
            case [b"hello"]:
                self.identities[node] = identity
                self._send(identity, b"welcome")
                self._core.desk.arrived(node)
            case [b"command-state", text]:
                self.identities[node] = identity
                await self._report(node, text)
            case _:
                logger.info("node %s sent a message that ZeroMQ's listener does not know: %r", node, frames[0][:32])

    async def _report(self, node: str, text: bytes) -> None:
        try:
            said = NodeReport.from_json(text)
            await self._core.desk.report(node, said.id, State(said.state), said.reason)
        except CommandError as error:
            logger.warning("node %s says of a command: %s", node, error)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Tell nodes that their payloads are stored."""
        for identity, identifier in tokens:
            self._send(identity, b"stored", identifier)

    def _send(self, identity: bytes, *frames: bytes) -> bool:
        if self.router is None or self.router.closed:
            return False
        try:
            # Below asyncio's: it says at once whether it could.
            plain = cast("Any", zmq.Socket).shadow(self.router.underlying)
            plain.send_multipart([identity, *frames], zmq.DONTWAIT)
        except zmq.ZMQError:
            return False  # gone, or too slow: the node sends it again
        return True

    def reaches(self, node: str) -> bool:
        """Tell whether the node has said hello and was not seen going."""
        return node in self.identities

    async def carry(self, command: Command) -> State:
        """Send a command."""
        identity = self.identities.get(command.node)
        if identity is None or not self._send(identity, b"command", command.for_node()):
            self.identities.pop(command.node, None)
            raise NotReachedError("its connection is gone")
        return State.SENT


def _user(frame: zmq.Frame) -> str:
    return str(frame.get("User-Id"))


def _text(frame: zmq.Frame) -> str:
    return frame.bytes.decode(errors="replace")


def _decoder(payload: bytes) -> interfaces.Decode | None:
    return senml_cbor.decode if payload and payload[0] in _CBOR_ARRAYS else None
