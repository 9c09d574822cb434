"""Changes of commands' states, on their way to the chain: lines among the readings."""

import time
from collections.abc import Callable

from iot_gateway.calls import Calls
from iot_gateway.committer import Committer
from iot_gateway.desk import Command, Step


class CommandLines(Calls):
    """Puts what the desk tells into a lane; it is told once a line is on disk."""

    def __init__(self, lane: Committer, site: str, gateway: str):
        self._lane = lane
        self.site, self.gateway = site, gateway

    def tell(self, command: Command, step: Step, done: Callable[[], None]) -> None:
        """Take a change of state; see :class:`iot_gateway.desk.desk.Chain`."""
        line = command.to_line(step, self.site, self.gateway, time.time())
        self._lane.add([line], len(line), self, done)
