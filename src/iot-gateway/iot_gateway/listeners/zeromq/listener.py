"""The ZeroMQ listener.

Two sockets, both with CURVE:

- **PULL** for nodes that PUSH: one frame a payload, or two, the topic and the payload. Nothing is acknowledged: what
  queues and the kernel hold when the gateway dies is lost. When it stops in order it hangs up, and takes all that had
  been sent. While the gateway can't store, it takes nothing, and the node's PUSH blocks at its high-water mark.
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
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import zmq
import zmq.asyncio

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.listeners.zeromq.admission import DOMAIN, CurveAdmission
from iot_gateway.listeners.zeromq.options import ZeroMqOptions
from iot_gateway.listeners.zeromq.sources import Dealers, PullSource
from iot_gateway.listeners.zeromq.taking import Taker
from iot_gateway.payloads import decoder

logger = logging.getLogger(__name__)

MAX_MESSAGE: Final = 1 << 20
HEARTBEAT_MS: Final = 30_000


class ZeroMqListener(interfaces.Listener):
    """Takes telemetry from ZeroMQ nodes, and carries commands to them."""

    Options = ZeroMqOptions

    def __init__(self, options: ZeroMqOptions, core: interfaces.Core):
        self.options = options
        self._core = core
        self._error: str | None = None
        self._listening = False
        self._received = 0
        self._admission: CurveAdmission | None = None
        self._pull = PullSource()
        self._dealers = Dealers(core)
        self._takers: list[Taker] = []

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(longest=5.0)
        with contextlib.closing(self._dealers.reports):
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
            if port := self.options.pull_port:
                pull = self._bind(context, zmq.PULL, port)
                self._takers.append(Taker(pull, self._pull.open, self._push, port))
            if port := self.options.router_port:
                router = self._dealers.router = self._bind(context, zmq.ROUTER, port)
                self._takers.append(Taker(router, self._dealers.open, self._talk, None))
            ends.append(self._core.desk.attach(self._dealers))
            ends.append(self._core.nodes.on_change(self._dealers.forget))
            self._listening, self._error = True, None
            async with asyncio.TaskGroup() as tasks:
                for taker in self._takers:
                    tasks.create_task(taker.run())
                # What was taken is answered over the same sockets.
                await asyncio.Event().wait()
        finally:
            self._listening = False
            self._takers = []
            for end in reversed(ends):
                end()

    def _bind(self, context: zmq.asyncio.Context, kind: int, port: int) -> zmq.asyncio.Socket:
        made = context.socket(kind)
        made.curve_server = True
        made.curve_secretkey = self.options.secret_key.text.encode()
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

    def _push(self, frames: Sequence[zmq.Frame]) -> None:
        node = _user(frames[0])
        topic = f"{node}/{_text(frames[0])}" if len(frames) > 1 else node
        self._received += 1
        payload = frames[-1].bytes
        self._core.intake.offer(self._pull, node, topic, payload, None, decoder(payload))

    def _talk(self, message: Sequence[zmq.Frame]) -> None:
        identity, *frames = message
        if frames:
            self._received += 1
            self._dealers.hear(identity.bytes, _user(frames[0]), [frame.bytes for frame in frames])

    def quiesce(self) -> None:
        """Let nobody in, and hang up on those who PUSH; what they had sent is still taken."""
        if self._admission is not None:
            self._admission.closed = True
        for taker in self._takers:
            taker.finish()

    @property
    def draining(self) -> bool:
        """Whether messages that had come before :meth:`quiesce` are still being taken, or noted."""
        return not all(taker.done for taker in self._takers) or self._dealers.reports.waiting > 0

    def status(self) -> dict[str, Any]:
        """Return ``connected`` (it listens), ``error``, and its figures."""
        return {
            "connected": self._listening,
            "error": self._error,
            "received": self._received,
            "refused": self._admission.refused if self._admission else 0,
            "clients": len(self._dealers.identities),
        }


def _user(frame: zmq.Frame) -> str:
    return str(frame.get("User-Id"))


def _text(frame: zmq.Frame) -> str:
    return frame.bytes.decode(errors="replace")
