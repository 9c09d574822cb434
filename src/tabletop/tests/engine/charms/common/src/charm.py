"""Records each event; the provider publishes an address and a secret, the requirer reads both."""

import json
import logging
import os
import time
from pathlib import Path

import ops

logger = logging.getLogger(__name__)
RECORD = Path(os.environ["JUJU_CHARM_DIR"]).parent / "events.jsonl"


class RecorderCharm(ops.CharmBase):
    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        for name, event in self.on.events().items():
            if issubclass(event.event_type, (ops.LifecycleEvent, ops.CollectStatusEvent, ops.ActionEvent)):
                continue
            if not name.startswith("collect"):
                framework.observe(event, self._record)
        framework.observe(self.on.greet_action, self._greet)
        framework.observe(self.on.refuse_action, self._refuse)
        framework.observe(self.on.crash_action, self._crash)
        framework.observe(self.on.collect_unit_status, self._status)

    def _record(self, event: ops.EventBase) -> None:
        hook = os.environ["JUJU_HOOK_NAME"]
        record = {"hook": hook, "leader": self.unit.is_leader()}
        for key in ("REMOTE_UNIT", "REMOTE_APP", "DEPARTING_UNIT", "RELATION_ID", "SECRET_LABEL", "SECRET_REVISION"):
            if os.environ.get(f"JUJU_{key}"):
                record[key.lower()] = os.environ[f"JUJU_{key}"]
        if hook == self.config["hang_on"]:
            Path(RECORD.parent / "hanging").write_text(str(os.getpid()))
            time.sleep(600)
        if isinstance(event, ops.RelationEvent):
            self._relate(event, record)
        if hook == self.config["fail_on"]:
            raise RuntimeError(f"told to fail on {hook}")
        with RECORD.open("a") as file:
            file.write(json.dumps(record) + "\n")
        logger.info("recorded %s", hook)

    def _relate(self, event: ops.RelationEvent, record: dict) -> None:
        relation = event.relation
        record["units"] = sorted(unit.name for unit in relation.units)
        if isinstance(event, (ops.RelationBrokenEvent, ops.RelationDepartedEvent)):
            return
        if self.meta.name == "provider" and relation.name == "db":
            relation.data[self.unit]["port"] = str(self.config["port"])
            if self.unit.is_leader() and "secret" not in relation.data[self.app]:
                secret = self.app.add_secret({"password": "s3cret-word"}, label=f"password-{relation.id}")
                secret.grant(relation)
                relation.data[self.app].update({"secret": secret.id, "host": self.unit.name})
        elif relation.name == "db":
            relation.data[self.unit]["asks"] = self.unit.name
            record["seen"] = {unit.name: relation.data[unit].get("port") for unit in relation.units}
            record["app"] = dict(relation.data[event.app])
            if "secret" in record["app"]:
                content = self.model.get_secret(id=record["app"]["secret"], label="db-password").get_content()
                record["password"] = content["password"]

    def _greet(self, event: ops.ActionEvent) -> None:
        for number in range(event.params["count"]):
            event.log(f"greeting {number}")
        event.set_results({"text": f"hello {event.params['name']}", "nested": {"count": event.params["count"]}})

    def _status(self, event: ops.CollectStatusEvent) -> None:
        event.add_status(ops.ActiveStatus("recorded"))

    def _refuse(self, event: ops.ActionEvent) -> None:
        event.fail("not today")

    def _crash(self, event: ops.ActionEvent) -> None:
        raise RuntimeError("crashed")


if __name__ == "__main__":
    ops.main(RecorderCharm)
