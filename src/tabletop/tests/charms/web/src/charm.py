#!/usr/bin/env python3
"""A charm for trying tabletop: it shows what a store publishes."""

import ops


class WebCharm(ops.CharmBase):
    """Waits for a store."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        framework.observe(self.on.collect_unit_status, self._collect_status)
        framework.observe(self.on.data_relation_changed, self._ignore)

    def _ignore(self, _: ops.EventBase) -> None:
        """The status says it all."""

    def _collect_status(self, event: ops.CollectStatusEvent) -> None:
        relation = self.model.get_relation("data")
        if relation is None:
            event.add_status(ops.BlockedStatus("Missing required data relation"))
            return
        colour = relation.data[relation.app].get("colour")
        if colour is None:
            event.add_status(ops.WaitingStatus("Waiting for store"))
            return
        event.add_status(ops.ActiveStatus(f"Shows {colour} of {len(relation.units)}"))


if __name__ == "__main__":
    ops.main(WebCharm)
