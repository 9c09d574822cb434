"""Changes of commands' states, on their way to the chain: lines among the readings."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from iot_gateway.committer import Committer
from iot_gateway.desk import Command, Step


class CommandLines:
    """Puts what the desk tells into a lane; it is told once a line is on disk."""

    def __init__(self, lane: Committer, site: str, gateway: str):
        self._lane = lane
        self.site, self.gateway = site, gateway

    def tell(self, command: Command, step: Step, done: Callable[[], None]) -> None:
        """Take a change of state; see :class:`iot_gateway.desk.desk.Chain`."""
        line = command.to_line(step, self.site, self.gateway, time.time())
        self._lane.add([line], len(line), self, done)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Pass on that lines are on disk."""
        for done in tokens:
            done()

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """Return the token: lines of the gateway's own are not refused."""
        return token

    def pause(self) -> None:
        """Nothing waits here: the desk keeps what it has to tell."""

    def resume(self) -> None:
        """See :meth:`pause`."""
