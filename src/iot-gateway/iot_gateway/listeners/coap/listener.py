"""The CoAP listener."""

# pyright: reportUnknownMemberType=false
# aiocoap is only partly typed.

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiocoap.transports.oscore import TransportOSCORE

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.listeners.coap.endpoint import Endpoint
from iot_gateway.listeners.coap.options import CoapOptions
from iot_gateway.listeners.coap.protected_site import ProtectedSite
from iot_gateway.listeners.coap.security import Contexts
from iot_gateway.listeners.coap.short_way import ShortWay
from iot_gateway.listeners.coap.site import Site
from iot_gateway.listeners.coap.storing import Storing
from iot_gateway.listeners.coap.telemetry import Gate

if TYPE_CHECKING:
    from iot_gateway.listeners.lwm2m.server import Lwm2mServer

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 0.1


class CoapListener(interfaces.Listener):
    """Takes telemetry by CoAP, secured by OSCORE."""

    Options = CoapOptions

    def __init__(self, options: CoapOptions, core: interfaces.Core):
        self.options = options
        self._core = core
        self._error: str | None = None
        self._storing = Storing(core.intake, options.store_seconds, options.retry_seconds)
        self._gate = Gate(options, core.nodes, self._storing)
        self._contexts = Contexts(core.nodes, bytes.fromhex(options.gateway_id), core.state / "coap")
        self._short = ShortWay(self._gate, self._contexts)
        self._endpoint = Endpoint(self._short)
        self._short.endpoint = self._endpoint
        self._site = Site(self._gate)
        self._lwm2m: Lwm2mServer | None = None
        if options.lwm2m is not None:
            # Not above: it is built on this package, and many gateways do without.
            from iot_gateway.listeners.lwm2m import server

            self._lwm2m = server.Lwm2mServer(options.lwm2m, core, self._endpoint, self._storing, self._contexts)
            self._site.parts = {server.REGISTER: self._lwm2m, server.SEND: self._lwm2m}

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._until_open()
        end_watch = self._core.nodes.on_change(self._forget)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._check())
                if self._lwm2m is not None:
                    tasks.create_task(self._lwm2m.run())
        finally:
            end_watch()
            await self._endpoint.close()
            self._contexts.close()

    async def _until_open(self) -> None:
        backoff = Backoff(longest=5.0)
        # What a stranger sends is counted here; a line for each would fill the disk.
        logging.getLogger("coap").setLevel(logging.ERROR)
        logging.getLogger("coap-server").setLevel(logging.ERROR)
        site = ProtectedSite(self._site, self._contexts)
        while True:
            try:
                self._endpoint.open(self.options.addresses, self.options.port, site)
                # Last: it takes the replay windows off the disk. Nothing is read before the loop's next round.
                self._contexts.open()
            except (OSError, ValueError) as error:
                await self._endpoint.close()
                self._error = str(error)
                delay = backoff.next()
                logger.error("CoAP can't listen, again in %.1f s: %s", delay, error)
                await asyncio.sleep(delay)
            else:
                break
        self._error = None
        context = self._endpoint.context
        context.request_interfaces.insert(0, TransportOSCORE(context, context))
        for port in self._endpoint.ports:
            logger.info("CoAP at %s", port.local)

    def _forget(self, names: set[str]) -> None:
        self._contexts.forget(names)
        if self._lwm2m is not None:
            self._lwm2m.forget(names)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._storing.check()
            self._endpoint.messages.recent.age()

    def configure(self, options: CoapOptions) -> bool:
        """Follow new bounds; other addresses, ports or identifiers need another listener."""
        fixed = ("addresses", "port", "gateway_id", "lwm2m")
        if any(getattr(options, name) != getattr(self.options, name) for name in fixed):
            return False
        self.options = self._gate.options = options
        self._storing.seconds, self._storing.retry = options.store_seconds, options.retry_seconds
        return True

    def quiesce(self) -> None:
        """Read no more; requests that were taken are still answered."""
        self._endpoint.quiesce()

    def status(self) -> dict[str, Any]:
        """Return ``connected`` (it listens), ``error``, and its figures."""
        lwm2m = self._lwm2m.status() if self._lwm2m else None
        return {
            "connected": bool(self._endpoint.ports),
            "error": self._error,
            "refused": self._gate.refused,
            "unavailable": self._storing.unavailable,
            "malformed": self._endpoint.malformed,
            "contexts": len(self._contexts),
            "clients": lwm2m["registered"] if lwm2m else 0,
            "lwm2m": lwm2m,
        }
