"""What the charms of Flume agents share: one agent a unit, and the actions that start and stop it."""

from typing import TypeVar

import ops

from iot_charm.base import ReconcilingCharm
from iot_charm.flume import service
from iot_charm.flume.agent import Agent

StateT = TypeVar("StateT")


class FlumeCharm(ReconcilingCharm[StateT]):
    """Base of a charm that runs a Flume agent."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.agent = Agent(self.unit.name)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.start_flume_action, self._on_start_flume)
        framework.observe(self.on.stop_flume_action, self._on_stop_flume)
        framework.observe(self.on.restart_flume_action, self._on_restart_flume)

    def disable(self) -> None:
        """Stop the agent and what runs beside it, for good; the channel's events stay on disk."""
        raise NotImplementedError

    def report(self, event: ops.ActionEvent, done: str) -> None:
        """Set the results of an action that has started the agent.

        Args:
            event: of the action.
            done: "started" or "restarted".
        """
        event.set_results({"outcome": f"{self.agent.service} is {done}"})

    def _on_stop(self, _: ops.StopEvent) -> None:
        self.disable()

    def _on_start_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.start(self.agent)
            self.report(event, "started")

    def _on_stop_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.stop(self.agent)
            event.set_results({"outcome": f"{self.agent.service} is stopped, until start-flume"})

    def _on_restart_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.restart(self.agent)
            self.report(event, "restarted")

    def _is_configured(self, event: ops.ActionEvent) -> bool:
        if service.is_configured(self.agent):
            return True
        event.fail("the agent is not configured yet: see the unit's status")
        return False
