"""Observations (LwM2M 1.1 core, section 6.4; RFC 7641): the values of a node, as they change.

A node may answer and yet not observe: it has no room for one more, or never observes that. Then its answer bears no
Observe option (RFC 7641, section 4.1), and it is asked again now and then: each answer is a reading, and may be the
beginning of an observation.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# aiocoap is only partly typed.

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import aiocoap.error
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import CON
from aiocoap.pipe import Pipe

from iot_gateway.listeners.coap import wire
from iot_gateway.listeners.coap.endpoint import Endpoint
from iot_gateway.listeners.coap.options import Lwm2mOptions
from iot_gateway.listeners.coap.storing import Pending, Storing
from iot_gateway.listeners.lwm2m import objects, values
from iot_gateway.listeners.lwm2m.objects import Path
from iot_gateway.listeners.lwm2m.registration import Registration

logger = logging.getLogger(__name__)

AT_ONCE: Final = 100
"""Nodes whose observations are set up side by side: after a power cut all register at once."""


class Notification(Pending):
    """A notification that is not on disk yet; a confirmable one is acknowledged then."""

    __slots__ = ("_address", "_endpoint", "_identifier")

    def __init__(self, endpoint: Endpoint, address: Any, identifier: int | None):
        super().__init__()
        self._endpoint, self._address, self._identifier = endpoint, address, identifier

    def reply(self, code: int, diagnostic: str = "", max_age: int | None = None) -> None:  # noqa: ARG002
        """Acknowledge it if it is on disk; if it can't be stored now, forget it, and the node sends it again."""
        if self._identifier is None:
            return
        if code == wire.UNAVAILABLE:
            self._endpoint.messages.release(self._address, self._identifier)
        else:
            self._endpoint.messages.acknowledge(self._address, self._identifier)


class Observing:
    """Sets up observations, and passes on what they bring."""

    def __init__(
        self, endpoint: Endpoint, storing: Storing, options: Lwm2mOptions, heard: Callable[[Registration], None]
    ):
        self.notifications = 0
        """Since the start."""
        self._endpoint = endpoint
        self._storing = storing
        self._options = options
        self._heard = heard
        self._tasks: dict[Registration, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    def begin(self, registration: Registration) -> None:
        """Observe what a node offers and what is not observed yet."""
        if registration not in self._tasks:
            task = asyncio.create_task(self._all(registration), name=f"observing {registration.node}")
            self._tasks[registration] = task
            task.add_done_callback(partial(self._set_up, registration))

    def _set_up(self, registration: Registration, task: asyncio.Task[None]) -> None:
        # One that was cancelled may have a successor by now.
        if self._tasks.get(registration) is task:
            del self._tasks[registration]

    def end(self, registration: Registration) -> None:
        """Observe nothing of a node any more."""
        task = self._tasks.pop(registration, None)
        if task is not None:
            task.cancel()
        for stop in registration.observed.values():
            stop()
        registration.observed.clear()
        registration.polled.clear()

    async def close(self) -> None:
        """End what is being set up."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _all(self, registration: Registration) -> None:
        async with self._places:
            registration.wanting = False
            before = len(registration.observed), len(registration.polled)
            try:
                for instance in registration.offer.instances:
                    if instance not in registration.observed:
                        await self._instance(registration, instance)
            except (aiocoap.error.Error, TimeoutError) as error:
                registration.wanting = True
                logger.info("node %s does not answer: %s", registration.node, error or "time is up")
                return
            finally:
                registration.poll_at = time.monotonic() + self._options.poll_seconds
            after = len(registration.observed), len(registration.polled)
            if after != before:
                logger.info("node %s: %d observations are set up, %d values are polled", registration.node, *after)

    async def _instance(self, registration: Registration, instance: Path) -> None:
        """Observe an instance as a whole; its values one by one, where the node can't do that."""
        paths = [(*instance, number) for number in objects.OBJECTS[instance[0]].resources]
        if (registration.observed.keys() | registration.polled).isdisjoint(paths):
            answer = await self._observe(registration, instance)
            if answer.code.is_successful():
                return
            logger.info("node %s: %s of %s", registration.node, answer.code, objects.name(instance))
        for path in paths:
            if path not in registration.observed:
                await self._observe(registration, path)

    async def _observe(self, registration: Registration, path: Path) -> Any:
        request = Message(code=Code.GET, uri_path=(*registration.offer.root, *map(str, path)), observe=0)
        if registration.accept is not None:
            request.opt.accept = registration.accept
        request.remote = registration.remote
        context = self._endpoint.context
        pipe = Pipe(request, context.log)
        first: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # aiocoap's own observations keep only the newest of what comes at once; here each is a reading.
        stop = pipe.on_event(partial(self._event, registration, path, first))
        try:
            (await context.find_remote_and_interface(request)).request(pipe)
            async with asyncio.timeout(self._options.answer_seconds):
                answer = await first
        except BaseException:
            stop()
            raise
        registration.polled.discard(path)
        if answer.opt.observe is None:
            stop()
        if answer.code.is_successful():
            if answer.opt.observe is None:
                registration.polled.add(path)
            else:
                registration.observed[path] = stop
            self._take(registration, path, answer)
        return answer

    def _event(self, registration: Registration, path: Path, first: asyncio.Future[Any], event: Any) -> bool:
        message, error, is_last = event.message, event.exception, event.is_last
        if not first.done():
            if message is not None:
                first.set_result(message)
            elif error is not None:
                first.set_exception(error)
            return not is_last
        told = message is not None and message.code.is_successful()
        if is_last or not told:
            # The node does not know of the observation any more (an error, or a value without the option, says so),
            # or was not there when it was asked something.
            registration.observed.pop(path, None)
            registration.wanting = True
        if told:
            self.notifications += 1
            self._heard(registration)
            self._take(registration, path, message)
        elif message is not None and message.mtype is CON:
            self._endpoint.messages.acknowledge(registration.address, message.mid)
        return not is_last

    def _take(self, registration: Registration, path: Path, message: Any) -> None:
        identifier = message.mid if message.mtype is CON else None
        given = message.opt.content_format
        decode = values.decoder(
            registration.node, None if given is None else int(given), path, registration.units, known_only=True
        )
        topic = f"{registration.node}/{'/'.join(map(str, path))}"
        pending = Notification(self._endpoint, registration.address, identifier)
        self._storing.offer(registration.node, topic, message.payload, decode, pending)
