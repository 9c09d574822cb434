"""The relay: its parts put together, run, reloaded and stopped."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from iot_gateway import config as configuration
from iot_gateway import control, metrics, plan, registry, status, words
from iot_gateway.change import Change
from iot_gateway.command_lines import CommandLines
from iot_gateway.command_requests import CommandRequests
from iot_gateway.config import RelayConfig
from iot_gateway.desk import Book, Desk
from iot_gateway.door import Door
from iot_gateway.errors import ConfigError
from iot_gateway.forwarder import Forwarder, Resend
from iot_gateway.intake import RelayIntake
from iot_gateway.interfaces import Core, Listener, Outbox, Uplink
from iot_gateway.nodes import Nodes
from iot_gateway.packer import Limits, Wrap, dead_letter_wrap, readings_wrap
from iot_gateway.plain_topics import PlainTopics
from iot_gateway.scrape import Scrape
from iot_gateway.watch import Watch

logger = logging.getLogger(__name__)

TELEMETRY, DEAD_LETTERS = LANES = ("telemetry", "dead-letters")
DRAIN_SECONDS = 5.0


class Relay:
    """One relay daemon."""

    def __init__(self, config: RelayConfig):
        """Open the outboxes; nothing listens or connects yet.

        Raises:
            ConfigError: the configuration names a plugin that is not there, or the file of nodes can't be used.
            OutboxUnavailableError: an outbox, or the book of commands, can't be opened.
        """
        self._config = config
        # Once: what listeners remember, sequence numbers of keys among it, must not begin afresh with a reload.
        self._state = config.outbox.directory.parent / "listeners"
        self._nodes = Nodes.from_file(config.nodes_file)
        self._started = time.time()
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._config_error: str | None = None
        """Why the configuration that was to be reloaded is not used."""
        outbox_class: Any = registry.outbox(config.outbox.plugin)
        options = configuration.outbox_options(config)
        self._outboxes: dict[str, Outbox] = {}
        try:
            for lane, lane_options in zip(LANES, options, strict=True):
                self._outboxes[lane] = outbox_class(config.outbox.directory / lane, lane_options)
            book = Book(config.outbox.directory.parent / "commands.db")
        except BaseException:
            self._close()
            raise
        telemetry, dead_letters = (self._outboxes[lane] for lane in LANES)
        self._intake = RelayIntake(config.site, config.gateway, telemetry, dead_letters)
        self._intake.plain = _plain_topics(config)
        self._command_lines = CommandLines(self._intake.telemetry, config.site, config.gateway)
        self._desk = Desk(book, self._command_lines)
        self._requests = CommandRequests(self._desk, self._nodes, self._intake)
        self._uplink = self._make_uplink(config)
        self._forwarders = {lane: self._make_forwarder(lane) for lane in LANES}
        self._intake.telemetry.on_commit = self._forwarders[TELEMETRY].wake
        self._intake.dead_letters.on_commit = self._forwarders[DEAD_LETTERS].wake
        self._watch = Watch(self._outboxes, TELEMETRY, lambda: self._uplink.status()["error"])
        self._forwarders[TELEMETRY].on_link = self._watch.link
        self._doors: dict[str, Door] = {}
        self._listeners: dict[str, Listener] = {name: self._make_listener(config, name) for name in config.listeners}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _make_listener(self, config: RelayConfig, name: str) -> Listener:
        plugin = registry.listener(config.listeners[name].plugin or name)
        door = self._doors.setdefault(name, Door(self._intake))
        return plugin(config.listener_options(name), Core(door, self._nodes, self._desk, self._state))

    def _make_uplink(self, config: RelayConfig) -> Uplink:
        plugin = registry.uplink(config.uplink.plugin or "amqp")
        made = plugin(config.uplink_options(), config.gateway, LANES)
        made.on_command(self._requests.take)
        return made

    def _make_forwarder(self, lane: str) -> Forwarder:
        config = self._config
        return Forwarder(
            lane,
            self._outboxes[lane],
            self._limits(lane, config),
            self._wrap(lane, config),
            self._uplink.senders[lane],
            config.batch.window,
            self._resend(lane, config),
        )

    @staticmethod
    def _wrap(lane: str, config: RelayConfig) -> Wrap:
        if lane == DEAD_LETTERS:
            return dead_letter_wrap(config.site, config.gateway)
        return readings_wrap(config.site, config.gateway, config.batch.encoding)

    @staticmethod
    def _resend(lane: str, config: RelayConfig) -> Resend:
        return Resend(config.resend.order, config.resend.rate) if lane == TELEMETRY else Resend()

    @staticmethod
    def _limits(lane: str, config: RelayConfig) -> Limits:
        if lane == DEAD_LETTERS:
            return Limits(entries=1, bytes=1, seconds=0.0)
        return Limits(config.batch.readings, config.batch.bytes, config.batch.age_ms / 1000)

    async def run(self) -> None:
        """Run until :meth:`stop`; then leave in order.

        Raises:
            OSError: the status socket, or the control socket, can't be made.
            ExceptionGroup: a part of the relay failed in a way that it did not foresee.
        """
        self._warn_of_backlog()
        try:
            async with (
                self._desk.closing(),
                status.serve(self._config.status_socket, self.status),
                control.serve(self._config.control_socket, self._handlers()),
            ):
                self._start("commands", self._desk.run())
                for name in self._listeners:
                    self._start(f"listener {name}", self._listeners[name].run())
                self._start("uplink", self._uplink.run())
                for lane, committer in zip(LANES, (self._intake.telemetry, self._intake.dead_letters), strict=True):
                    self._start(f"commit {lane}", committer.run())
                    self._start(f"forward {lane}", self._forwarders[lane].run())
                self._start("watch", self._watch.run())
                self._serve_metrics(self._config)
                await self._until_stopped()
                async with self._reloading:
                    await self._leave()
                self._requests.close()
                await self._cancel("commands")
        finally:
            self._stop.set()
            async with self._reloading:
                await self._cancel(*self._tasks)
            self._close()

    def _serve_metrics(self, config: RelayConfig) -> None:
        if config.metrics.port:
            self._start("metrics", Scrape(config.metrics.address, config.metrics.port, self.metrics).run())

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = asyncio.create_task(coroutine, name=name)

    async def _cancel(self, *names: str) -> None:
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_stopped(self) -> None:
        stop = asyncio.create_task(self._stop.wait())
        try:
            while not stop.done():
                # The set of tasks may change by a reload, so it is looked at again now and then.
                done, _ = await asyncio.wait(
                    (stop, *self._tasks.values()), timeout=1, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done - {stop}:
                    if not task.cancelled() and (error := task.exception()) is not None:
                        raise error
        finally:
            stop.cancel()

    async def _leave(self) -> None:
        """Stop taking, store what was taken, give what is on its way a moment to be confirmed."""
        logger.info("stopping")
        await self._stop_listeners(*self._listeners)
        await asyncio.gather(*(forwarder.drain(DRAIN_SECONDS) for forwarder in self._forwarders.values()))

    async def _stop_listeners(self, *names: str) -> None:
        """Stop listeners, in this order: no more payloads, those taken stored and acknowledged, connection closed.

        So nothing comes twice because of it, unless the disk is full: then it is not waited for.
        """
        for name in names:
            self._listeners[name].quiesce()
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and (
            self._intake.waiting_bytes or any(self._listeners[name].draining for name in names)
        ):
            await asyncio.sleep(0.01)
        await self._cancel(*(f"listener {name}" for name in names))

    def stop(self) -> None:
        """Have :meth:`run` end."""
        self._stop.set()

    def _close(self) -> None:
        for outbox in self._outboxes.values():
            outbox.close()

    def _warn_of_backlog(self) -> None:
        for lane, outbox in self._outboxes.items():
            figures = outbox.status()
            if figures["entries"]:
                logger.info("%s: %d entries of an earlier run wait to be sent", lane, figures["entries"])

    async def reload(self, path: Path) -> None:
        """Read the configuration again and follow it; keep the former one if it can't be used.

        What changes at once, what connects anew and what needs a restart stands in docs/reference/gateway.md.
        """
        async with self._reloading:
            if not self._stop.is_set():
                await self._reload(path)

    async def _reload(self, path: Path) -> None:
        try:
            change = self._prepare(path)
        except ConfigError as error:
            self._config_error = str(error)
            logger.error("the configuration is not used, the former one stays: %s", error)
        except Exception as error:
            # The border to plugins: what one did not foresee leaves the relay as it is.
            self._config_error = f"{type(error).__name__}: {error}"
            logger.exception("the configuration is not used, the former one stays")
        else:
            await self._follow(change)
            self._config_error = None
            logger.info("configuration reloaded")

    def _prepare(self, path: Path) -> Change:
        """Do all of a reload that can fail; the relay notices nothing of it.

        Raises:
            ConfigError: the configuration, or the file of nodes, can't be used.
            Exception: a plugin can't be made.
        """
        new = configuration.load(path)
        settings = {name: new.listener_options(name) for name in new.listeners}
        return Change(
            new,
            Nodes.read(new.nodes_file),
            _plain_topics(new),
            configuration.outbox_options(new),
            settings,
            {
                name: self._make_listener(new, name)
                for name in new.listeners
                if not self._is_same_plugin(name, new) or settings[name] != self._listeners[name].options
            },
            self._make_uplink(new)
            if new.uplink != self._config.uplink or new.gateway != self._config.gateway
            else None,
        )

    def _is_same_plugin(self, name: str, new: RelayConfig) -> bool:
        if name not in self._listeners or name not in new.listeners:
            return False
        return (self._config.listeners[name].plugin or name) == (new.listeners[name].plugin or name)

    async def _follow(self, change: Change) -> None:
        """Go over to another configuration."""
        leaving = {name for name in self._listeners if not self._keeps(name, change)}
        old, new = self._config, change.config
        self._config = new
        if _fixed(new) != _fixed(old):
            logger.warning("the outbox's place or plugin, and the sockets, change only with a restart")
        logging.getLogger().setLevel(new.log_level)
        self._intake.site, self._intake.gateway = new.site, new.gateway
        self._command_lines.site, self._command_lines.gateway = new.site, new.gateway
        self._intake.plain = change.plain
        self._nodes.replace(change.nodes)
        for lane, options in zip(LANES, change.outboxes, strict=True):
            self._outboxes[lane].configure(options)
            self._forwarders[lane].configure(
                self._limits(lane, new), self._wrap(lane, new), new.batch.window, self._resend(lane, new)
            )
        if new.metrics != old.metrics:
            await self._cancel("metrics")
            self._serve_metrics(new)
        await self._stop_listeners(*leaving)
        for name in leaving:
            del self._listeners[name]
        # All that leave are gone before the first one begins: it may want a port of theirs.
        for name in new.listeners.keys() - self._listeners.keys():
            self._listeners[name] = change.listeners[name]
            self._start(f"listener {name}", self._listeners[name].run())
        if change.uplink is not None:
            await self._cancel("uplink")
            self._uplink = change.uplink
            for lane, forwarder in self._forwarders.items():
                forwarder.use(self._uplink.senders[lane])
            self._start("uplink", self._uplink.run())

    def _keeps(self, name: str, change: Change) -> bool:
        """Have a listener follow a change; return whether it does, or has to make room for another one."""
        if not self._is_same_plugin(name, change.config):
            return False
        try:
            if self._listeners[name].configure(change.settings[name]):
                return True
            if name not in change.listeners:
                change.listeners[name] = self._make_listener(change.config, name)
        except Exception:
            # The border to a plugin. With settings that are the same it goes on as it is, else another one begins.
            logger.exception("listener %s can't follow its settings", name)
        return name not in change.listeners

    def _handlers(self) -> dict[str, control.Handler]:
        return {
            **self._requests.handlers(),
            "node-states": self._node_states,
            "plan-buffer": self._plan_buffer,
        }

    async def _node_states(self, _: dict[str, Any]) -> Any:
        return self._nodes.states()

    async def _plan_buffer(self, _: dict[str, Any]) -> Any:
        return plan.buffer(self._outboxes[TELEMETRY].status(), self._watch.rate, self._config.outbox.full)

    def metrics(self) -> str:
        """Return the relay's metrics in Prometheus' text format."""
        return metrics.text(self.status(), {lane: forwarder.latency for lane, forwarder in self._forwarders.items()})

    def status(self) -> dict[str, Any]:
        """Return how the relay stands; documented in docs/reference/gateway.md."""
        intake = self._intake
        outboxes = {lane: outbox.status() for lane, outbox in self._outboxes.items()}
        return {
            "site": self._config.site,
            "gateway": self._config.gateway,
            "summary": words.behind(outboxes[TELEMETRY]),
            "started": round(self._started, 3),
            "uptime_seconds": round(time.time() - self._started, 1),
            "config_error": self._config_error,
            "received": intake.received,
            "readings": intake.readings,
            "malformed": intake.malformed,
            "dead_letters_total": outboxes[DEAD_LETTERS]["confirmed_total"] + outboxes[DEAD_LETTERS]["entries"],
            "confirmed": self._forwarders[TELEMETRY].confirmed,
            "behind_seconds": outboxes[TELEMETRY]["oldest_seconds"],
            "waiting_bytes": intake.waiting_bytes,
            "refusal": intake.telemetry.refusal or intake.dead_letters.refusal,
            "listeners": {
                name: {**listener.status(), **self._doors[name].status()} for name, listener in self._listeners.items()
            },
            "outbox": outboxes,
            "forwarders": {lane: forwarder.status() for lane, forwarder in self._forwarders.items()},
            "nodes": self._nodes.status(),
            "commands": {**self._desk.status(), **self._requests.status()},
            "uplink": self._uplink.status(),
            "probes": intake.probes.states(self._outboxes[TELEMETRY]),
        }


def _plain_topics(config: RelayConfig) -> PlainTopics:
    return PlainTopics([plain.rule() for plain in config.plain])


def _fixed(config: RelayConfig) -> tuple[Any, ...]:
    """Return what a running relay can't change."""
    return config.outbox.directory, config.outbox.plugin, config.status_socket
