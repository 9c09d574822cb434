"""The desk: takes commands, sees to their delivery, and keeps account of what becomes of them."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from iot_gateway.desk.book import Book
from iot_gateway.desk.command import Command, CommandRequest, State, Step
from iot_gateway.desk.courier import Courier, NotReachedError, RefusedError
from iot_gateway.desk.deadlines import Deadlines
from iot_gateway.desk.errors import (
    BookError,
    CommandConflictError,
    CommandError,
    DeskFullError,
    UnknownCommandError,
)
from iot_gateway.desk.lines import Lines, Open

logger = logging.getLogger(__name__)

MOST_OPEN = 10_000
"""Commands that may wait at once."""
REPEAT_SECONDS = (10.0, 30.0, 60.0)
"""After how long a command that was sent and not acknowledged is sent again; the last is repeated."""
ASK_SECONDS = 3600.0
"""After how long a courier is asked again about a node that it did not reach, and of which it said nothing since."""
CARRY_SECONDS = 30.0
"""For a courier to carry one command."""
TELL_AT_ONCE = 100
"""Changes of state that the chain may have and not have stored: what is behind them waits in the book."""
RETRY_SECONDS = 1.0
"""Between attempts to write to a disk that refuses."""

Result = TypeVar("Result")


class Chain(Protocol):
    """Where changes of state are told."""

    def tell(self, command: Command, step: Step, done: Callable[[], None]) -> None:
        """Take a change of state; ``done`` is called once it is stored for good."""
        ...


class Desk:
    """One gateway's desk. Its methods are called in the event loop."""

    def __init__(self, book: Book, chain: Chain, *, most_open: int = MOST_OPEN):
        """Make the desk; what was under way goes on where it stood."""
        self._book = book
        self._chain = chain
        self._most_open = most_open
        self._couriers: list[Courier] = []
        self._lines = Lines(book.open())
        self._open = self._lines.open
        self._counts = book.counts()
        self._untold = book.count_untold()
        self._wake = asyncio.Event()
        self._ready: dict[str, set[str]] = {}
        """By node the targets whose lines are to be looked at in the next step."""
        self._repeats = Deadlines[tuple[str, str]]()
        """When the head of a line, by node and target, is sent again, on the monotonic clock."""
        self._asks = Deadlines[str]()
        """When a courier is asked again about a node, on the monotonic clock."""
        self._expiries = Deadlines[str]()
        """When a command expires, in seconds since the epoch."""
        for waiting in self._open.values():
            self._expiries.set(waiting.command.id, waiting.command.expires)
        self._carrying: dict[str, asyncio.Task[None]] = {}
        self._telling: set[int] = set()
        self._told: list[int] = []
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="commands")
        self._lock = asyncio.Lock()
        self.problem: str | None = None
        """Why nothing can be entered now; None while all is well."""

    def attach(self, courier: Courier) -> Callable[[], None]:
        """Have commands carried by a courier too; return what ends that."""
        self._couriers.append(courier)
        for node in self._lines.nodes():
            self._look_at(node)
        return lambda: self._couriers.remove(courier)

    # What the giver of a command calls

    async def submit(self, request: CommandRequest) -> Command:
        """Take a command; it survives a power cut once this returns. Given again, it is the one that is there.

        Raises:
            CommandConflictError: another command has this identifier.
            DeskFullError: too many are waiting.
            CommandError: the disk does not take it.
        """
        async with self._lock:
            known = await self._look(self._book.find, request.id)
            if known is not None:
                if not known.is_same(request):
                    raise CommandConflictError(
                        f"id={request.id!r}: that is another command, {known.target} at {known.node}; give a new id"
                    )
                return known
            if len(self._open) >= self._most_open:
                raise DeskFullError(f"{len(self._open)} commands are waiting already; cancel some, or let them expire")
            command = Command.new(request, time.time())
            await self._enter(self._book.add, command)
            self._lines.add(command)
            self._expiries.set(command.id, command.expires)
            self._counts[State.QUEUED] += 1
            self._untold += len(command.steps)
        logger.info("command %s: %s at %s", command.id, command.target, command.node)
        self._look_at(command.node, command.target)
        return command

    async def cancel(self, identifier: str, reason: str = "") -> Command:
        """Take a command back; what the node has already is not undone.

        Raises:
            UnknownCommandError: there is none.
            CommandError: it has come to its end already, or the disk does not take it.
        """
        async with self._lock:
            found = self._open.get(identifier)
            if found is None:
                ended = await self._look(self._book.find, identifier)
                if ended is None:
                    raise UnknownCommandError(
                        f"id={identifier!r}: there is no such command; list-commands shows those that there are"
                    )
                raise CommandError(f"command {identifier!r} is {ended.state} and can't be cancelled")
            return await self._step(found, State.CANCELLED, reason)

    async def latest(self, *, node: str = "", state: str = "", limit: int = 100) -> list[Command]:
        """Return commands, the newest first; see :meth:`Book.latest`."""
        return await self._look(lambda: self._book.latest(node=node, state=state, limit=limit))

    # What a listener calls

    def arrived(self, node: str) -> None:
        """Deliver what waits for a node: it can be reached now."""
        for target in self._lines.targets(node):
            if head := self._lines.head(node, target):
                head.due = 0.0
        self._look_at(node)

    async def report(self, node: str, identifier: str, state: State, reason: str = "") -> bool:
        """Take what a node says of a command.

        Returns:
            Whether it was news: False for a command of another node, one that is unknown or at its end, or a state
            that does not follow.

        Raises:
            BookError: the disk does not take it.
        """
        async with self._lock:
            found = self._open.get(identifier)
            if found is None or found.command.node != node or not found.command.follows(state):
                return False
            if found.command.state is State.QUEUED:
                # The node's word has overtaken the transport's, or a relay was killed that had yet to note that.
                await self._step(found, State.SENT, found.carried_by)
            await self._step(found, state, reason)
            return True

    # Under way

    async def run(self) -> None:
        """Deliver and expire until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._tell()
                    await self._expire()
                except CommandError as error:
                    self._fail(error)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self._deliver()
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()
        finally:
            carrying = list(self._carrying.values())
            for task in carrying:
                task.cancel()
            await asyncio.gather(*carrying, return_exceptions=True)

    def _fail(self, error: CommandError) -> None:
        if self.problem is None:
            logger.error("%s: commands wait", error)
        self.problem = str(error)

    def _look_at(self, node: str, *targets: str) -> None:
        """Have a node's lines, or some of them, looked at in the next step."""
        if lines := targets or self._lines.targets(node):
            self._ready.setdefault(node, set()).update(lines)
            self._wake.set()

    def _pause(self) -> float:
        """Return the seconds until something is due by itself."""
        clock = time.monotonic()
        return max(
            0.05, min(self._expiries.next - time.time(), self._repeats.next - clock, self._asks.next - clock, 3600.0)
        )

    async def _expire(self) -> None:
        reasons = {
            State.QUEUED: "the node could not be reached in time",
            State.SENT: "the node did not acknowledge it in time",
            State.ACKNOWLEDGED: "the node did not say in time that it was applied",
        }
        now = time.time()
        while (identifier := self._expiries.due(now)) is not None:
            async with self._lock:
                if waiting := self._open.get(identifier):
                    await self._step(waiting, State.EXPIRED, reasons[waiting.command.state])

    def _deliver(self) -> None:
        """Send what is due: the nodes side by side, a node's commands one after the other."""
        now = time.monotonic()
        for node, target in self._repeats.take(now):
            self._look_at(node, target)
        for node in self._asks.take(now):
            self._look_at(node)
        for node in self._ready.keys() - self._carrying.keys():
            targets = self._ready.pop(node)
            heads = [head for target in targets if (head := self._lines.head(node, target))]
            if not heads:
                continue
            courier = self._courier(node)
            if courier is None:
                self._asks.set(node, now + ASK_SECONDS)
                continue
            due = sorted((head for head in heads if head.due <= now), key=lambda head: head.number)
            if due:
                carrying = self._carry_all(node, due, courier)
                self._carrying[node] = asyncio.create_task(carrying, name=f"commands to {node}")

    async def _carry_all(self, node: str, due: list[Open], courier: Courier) -> None:
        try:
            for index, waiting in enumerate(due):
                if not await self._carry(waiting, courier):
                    # The others wait as long as this one: the node is not there for them either.
                    for other in due[index + 1 :]:
                        self._repeat_at(other, waiting.due)
                    return
        except CommandError as error:
            self._fail(error)
        finally:
            del self._carrying[node]
            self._wake.set()

    def _repeat_at(self, waiting: Open, due: float) -> None:
        waiting.due = due
        self._repeats.set((waiting.command.node, waiting.command.target), due)

    async def _carry(self, waiting: Open, courier: Courier) -> bool:
        """Send one command; return whether its node could be reached."""
        command = waiting.command
        if not waiting.waits:
            return True
        pause = REPEAT_SECONDS[min(waiting.attempts, len(REPEAT_SECONDS) - 1)]
        self._repeat_at(waiting, time.monotonic() + pause)
        waiting.attempts += 1
        waiting.carried_by = courier.protocol
        state, reason = State.SENT, courier.protocol
        try:
            async with asyncio.timeout(CARRY_SECONDS):
                state = await courier.carry(command)
        except (NotReachedError, TimeoutError) as error:
            logger.info("command %s did not reach %s by %s: %s", command.id, command.node, courier.protocol, error)
            return False
        except RefusedError as error:
            state, reason = State.REFUSED, str(error)
        except Exception:
            # The border to a plugin: what it did not foresee costs this attempt, not the node's other commands.
            logger.exception("command %s could not be carried to %s by %s", command.id, command.node, courier.protocol)
            return True
        async with self._lock:
            if command.id in self._open and waiting.command.follows(state):
                await self._step(waiting, state, reason)
        return True

    def _courier(self, node: str) -> Courier | None:
        return next((courier for courier in self._couriers if courier.reaches(node)), None)

    async def _step(self, waiting: Open, state: State, reason: str) -> Command:
        step = Step(time.time(), state, reason)
        await self._enter(self._book.step, waiting.command.id, step)
        self._counts[waiting.command.state] -= 1
        self._counts[state] += 1
        self._untold += 1
        command = self._lines.go_on(waiting, step)
        if state.is_final:
            self._expiries.discard(command.id)
        logger.info("command %s is %s%s", command.id, state, f": {reason}" if reason else "")
        self._look_at(command.node, command.target)
        return command

    # Telling the chain

    async def _tell(self) -> None:
        """Tell the chain what it has not been told; what it has stored is crossed off."""
        if self._told:
            told = self._told.copy()
            await self._enter(self._book.told, told)
            self._untold -= len(told)
            del self._told[: len(told)]
            self._telling.difference_update(told)
        for number, command, step in await self._look(self._book.untold, TELL_AT_ONCE):
            if number not in self._telling:
                self._telling.add(number)
                self._chain.tell(command, step, self._crosser(number))

    def _crosser(self, number: int) -> Callable[[], None]:
        def cross_off() -> None:
            self._told.append(number)
            self._wake.set()

        return cross_off

    async def _enter(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Write into the book."""
        result = await self._look(work, *arguments)
        if self.problem is not None:
            logger.info("the book of commands can be written again")
            self.problem = None
        return result

    async def _look(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Read in the book."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)
        except sqlite3.Error as error:
            raise BookError(f"the book of commands does not work: {error}") from error

    def status(self) -> dict[str, Any]:
        """Return how many commands are under way and in each state, what the chain has not been told, what is wrong."""
        oldest = next((waiting.command.created for waiting in self._open.values()), None)
        return {
            "open": len(self._open),
            "oldest_seconds": None if oldest is None else round(max(0.0, time.time() - oldest), 1),
            "by_state": dict(self._counts),
            "untold": self._untold,
            "couriers": [courier.protocol for courier in self._couriers],
            "error": self.problem,
        }

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncGenerator[None]:
        """Cross off what the chain has stored, and close the book, when the context ends."""
        try:
            yield
        finally:
            if self._told:
                with contextlib.suppress(CommandError):
                    await self._enter(self._book.told, self._told)
            self._disk.shutdown()
            self._book.close()
