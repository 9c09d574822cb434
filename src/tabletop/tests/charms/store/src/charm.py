#!/usr/bin/env python3
"""A charm for trying tabletop: it publishes one setting, and shows a resource."""

import ops


class StoreCharm(ops.CharmBase):
    """Publishes `colour` in its application databag, and the unit's address in its own."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        for event in (self.on.config_changed, self.on.data_relation_joined, self.on.leader_elected):
            framework.observe(event, self._publish)
        framework.observe(self.on.smoke_test_action, self._smoke_test)
        framework.observe(self.on.collect_unit_status, self._collect_status)

    def _publish(self, _: ops.EventBase) -> None:
        self.unit.set_ports(8080)
        self.unit.set_workload_version("1.0")
        for relation in self.model.relations["data"]:
            relation.data[self.unit]["unit"] = self.unit.name
            if self.unit.is_leader():
                relation.data[self.app]["colour"] = str(self.config["colour"])

    def _smoke_test(self, event: ops.ActionEvent) -> None:
        for number in range(event.params["lines"]):
            event.log(f"line {number}")
        if event.params["fail"]:
            event.set_results({"half": "done"})
            event.fail(event.params["fail"])
            return
        seed = self.model.resources.fetch("seed").read_text().strip()
        event.set_results({"seed": seed, "size": self.config["size"]})

    def _collect_status(self, event: ops.CollectStatusEvent) -> None:
        if self.config["size"] == 13:
            event.add_status(ops.BlockedStatus("size=13: must be another number"))
        event.add_status(ops.ActiveStatus(f"Ready ({self.config['colour']})"))


if __name__ == "__main__":
    ops.main(StoreCharm)
