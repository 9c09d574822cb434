#!/usr/bin/env python3
"""A charm that calls every hook command, by its action `check`, and notes what its hooks see."""

import json

import checks
import notes
import ops
import overreach
from ops import hookcmds

from state import Place


class ConformanceCharm(ops.CharmBase):
    """Runs checks and keeps notes."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        for event in (self.on.install, self.on.start, self.on.data_storage_attached, self.on.secret_changed):
            framework.observe(event, self._note)
        for name in ("in", "out", "ring"):
            for kind in ("created", "joined", "changed", "departed", "broken"):
                framework.observe(getattr(self.on[name], f"relation_{kind}"), self._note)
        framework.observe(self.on.config_changed, self._configure)
        framework.observe(self.on.secret_rotate, self._rotate)
        framework.observe(self.on.secret_expired, self._expired)
        framework.observe(self.on.secret_remove, self._obsolete)
        framework.observe(self.on.prepare_action, self._prepare)
        framework.observe(self.on.check_action, self._check)
        framework.observe(self.on.seen_action, self._seen)
        framework.observe(self.on.add_secret_action, self._add_secret)
        framework.observe(self.on.overreach_action, self._overreach)
        framework.observe(self.on.fail_action, self._fail)
        framework.observe(self.on.collect_unit_status, self._status)

    def _note(self, _: ops.EventBase) -> None:
        notes.keep(notes.from_hook())

    def _configure(self, event: ops.EventBase) -> None:
        self._note(event)
        wanted = str(self.config["reboot"])
        if wanted and notes.first_time(f"reboot-{wanted}"):
            hookcmds.juju_reboot(now=wanted == "now")
            notes.keep({"hook": f"after juju-reboot {wanted}"})

    def _rotate(self, event: ops.SecretRotateEvent) -> None:
        self._note(event)
        event.secret.set_content({"word": f"rotated {event.secret.get_info().revision}"})

    def _expired(self, event: ops.SecretExpiredEvent) -> None:
        self._note(event)
        event.remove_revision()

    def _obsolete(self, event: ops.SecretRemoveEvent) -> None:
        self._note(event)
        event.remove_revision()

    def _prepare(self, _: ops.ActionEvent) -> None:
        checks.prepare(self, Place.of(self))

    def _check(self, event: ops.ActionEvent) -> None:
        report = checks.run(self, Place.of(self), event, str(event.params["name"]))
        event.set_results({"report": json.dumps(report)})
        wrong = [name for name, said in report["checks"].items() if said != "ok"]
        if wrong:
            event.fail(f"wrong: {', '.join(wrong)}")

    def _seen(self, event: ops.ActionEvent) -> None:
        event.set_results({"report": json.dumps(notes.read())})

    def _add_secret(self, event: ops.ActionEvent) -> None:
        secret = hookcmds.secret_add(
            {"word": "first"},
            owner="unit",
            label=event.params["label"],
            expire=event.params["expire"] or None,
            rotate=event.params["rotate"] or None,
        )
        event.set_results({"id": secret})

    def _overreach(self, event: ops.ActionEvent) -> None:
        overreach.ASKED[event.params["what"]](Place.of(self))
        event.set_results({"accepted": "yes"})

    def _fail(self, event: ops.ActionEvent) -> None:
        hookcmds.action_set({"half": "done"})
        hookcmds.action_fail(event.params.get("message"))

    def _status(self, event: ops.CollectStatusEvent) -> None:
        event.add_status(ops.ActiveStatus())


if __name__ == "__main__":
    ops.main(ConformanceCharm)
