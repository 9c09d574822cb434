"""The actions that give, list and cancel commands to nodes; the relay's desk does the work."""

import json
from typing import Any

import ops

import command_tables
import relay
from actions import relay_action
from iot_gateway.desk import read_value


class CommandActions(ops.Object):
    """Observes the actions."""

    def __init__(self, charm: ops.CharmBase):
        """Observe.

        Args:
            charm: whose actions.
        """
        super().__init__(charm, "command-actions")
        for event, handler in (
            (charm.on["send-command"].action, self._on_send),
            (charm.on["list-commands"].action, self._on_list),
            (charm.on["cancel-command"].action, self._on_cancel),
        ):
            self.framework.observe(event, handler)

    @relay_action
    def _on_send(self, event: ops.ActionEvent) -> None:
        # What was left out, the desk has a default for.
        wanted = {name: value for name, value in event.params.items() if value != ""}
        value = event.params.get("value")
        if isinstance(value, str):
            value = read_value(value)
        command = relay.ask("send-command", **{**wanted, "value": value, "origin": "action"})
        event.set_results(command_tables.results(command))

    @relay_action
    def _on_list(self, event: ops.ActionEvent) -> None:
        commands: list[dict[str, Any]] = relay.ask("list-commands", **event.params)
        event.set_results(
            {
                "commands": len(commands),
                "table": command_tables.table(commands),
                "all": json.dumps(commands),
            }
        )

    @relay_action
    def _on_cancel(self, event: ops.ActionEvent) -> None:
        event.set_results(command_tables.results(relay.ask("cancel-command", **event.params)))
