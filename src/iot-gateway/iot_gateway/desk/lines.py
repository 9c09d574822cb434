"""Commands under way, in the order in which their nodes get them: a line for each target of a node.

A later command to a target waits until the node has the earlier one, or a repetition would undo it. Targets do not wait
for each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from iot_gateway.desk.command import Command, State, Step


@dataclass(slots=True)
class Open:
    """A command under way."""

    command: Command
    number: int
    """Its place among all."""
    attempts: int = 0
    carried_by: str = ""
    """The protocol of the courier that had it last; empty for none since the start."""
    due: float = 0.0
    """When it is to be sent (again), on the monotonic clock."""

    @property
    def waits(self) -> bool:
        """Whether its node has yet to get it."""
        return self.command.state in (State.QUEUED, State.SENT)


class Lines:
    """All commands under way. No method costs more than the lines that it is about."""

    def __init__(self, commands: Iterable[Command]):
        """Begin with commands that are under way, the oldest first."""
        self.open: dict[str, Open] = {}
        """By identifier, the oldest first."""
        self._nodes: dict[str, dict[str, dict[str, Open]]] = {}
        """By node, target and identifier those that wait."""
        self._count = 0
        for command in commands:
            self.add(command)

    def add(self, command: Command) -> Open:
        """Put a command at the end of its line."""
        self._count += 1
        added = self.open[command.id] = Open(command, self._count)
        if added.waits:
            self._nodes.setdefault(command.node, {}).setdefault(command.target, {})[command.id] = added
        return added

    def go_on(self, going: Open, step: Step) -> Command:
        """Have a command go on; it leaves its line when its node has it, and all else when that is its end."""
        waited = going.waits
        command = going.command = going.command.after(step)
        if waited and not going.waits:
            self._leave(command)
        if step.state.is_final:
            del self.open[command.id]
        return command

    def _leave(self, command: Command) -> None:
        targets = self._nodes[command.node]
        del targets[command.target][command.id]
        if not targets[command.target]:
            del targets[command.target]
        if not targets:
            del self._nodes[command.node]

    def nodes(self) -> list[str]:
        """Return the nodes that something waits for."""
        return list(self._nodes)

    def targets(self, node: str) -> list[str]:
        """Return the targets of a node that something waits for."""
        return list(self._nodes.get(node, ()))

    def head(self, node: str, target: str) -> Open | None:
        """Return the command that a node gets next for a target; None if nothing waits."""
        return next(iter(self._nodes.get(node, {}).get(target, {}).values()), None)
