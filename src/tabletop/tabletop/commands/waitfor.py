"""Waiting until what is there is as asked."""

import argparse
import time
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_model, duration
from tabletop.commands.query import Query, QueryError
from tabletop.errors import TabletopError
from tabletop.format import note
from tabletop.session import Session
from tabletop.status import each_unit, section

_POLL_S = 1.0
_DEFAULT_TIMEOUT_S = 600.0
_DEFAULTS = {
    "application": 'life=="alive" && status=="active"',
    "unit": 'life=="alive" && workload-status=="active"',
    "machine": 'life=="alive" && status=="started"',
    "model": 'life=="alive" && status=="available"',
}


class WaitFor(Command):
    """`wait-for`."""

    notes = """\
A query compares names with text by == and !=, joined by &&, || and !, in parentheses where needed; Juju's functions
(forEach, len, ...) are refused. The names are
  application: name, life, status, status-message, charm-name, exposed, workload-version
  unit: name, application, life, workload-status, workload-message, agent-status, machine-id, public-address, leader
  machine: id, life, status, instance-status, hostname
  model: name, life, status
One that isn't there yet is waited for, too."""
    examples = (
        "wait-for application store",
        """wait-for unit store/0 --query 'workload-status=="active" && agent-status=="idle"' --timeout 5m""",
        """wait-for application store --query 'status=="blocked" || status=="error"'""",
        "wait-for machine 0 --timeout 90s",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("kind", choices=tuple(_DEFAULTS), help="of what")
        parser.add_argument("name", help="its name; a machine's number")
        parser.add_argument("--query", help="what is waited for (default: that it is active, started or available)")
        parser.add_argument(
            "--timeout", type=duration, default=_DEFAULT_TIMEOUT_S, metavar="DURATION", help="default 10m"
        )
        parser.add_argument(
            "--summary", action="store_true", help="accepted: what it is like at the end is told anyway"
        )

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Look again and again."""
        try:
            query = Query.parse(args.query or _DEFAULTS[args.kind])
        except QueryError as error:
            raise UsageError(str(error)) from error
        model = session.model(args.name if args.kind == "model" else args.model)
        deadline = time.monotonic() + args.timeout
        facts: Mapping[str, str] | None = None
        while True:
            facts = _facts(session.call("status", model=model), args.kind, args.name)
            try:
                if facts is not None and query.holds(facts):
                    note(f"{args.kind} {args.name}: {_summary(facts)}")
                    return
            except QueryError as error:
                raise UsageError(str(error)) from error
            if time.monotonic() >= deadline:
                how = "it isn't there" if facts is None else _summary(facts)
                raise TabletopError(f"timed out waiting for {args.kind} {args.name!r}: {how}")
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))


def _summary(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value and key.endswith(("status", "message")))


def _facts(status: dict[str, Any], kind: str, name: str) -> Mapping[str, str] | None:
    match kind:
        case "application":
            found = section(status, "applications").get(name)
            return None if found is None else _application(name, found)
        case "unit":
            unit = next((body for other, body, _ in each_unit(status) if other == name), None)
            return None if unit is None else _unit(name, unit)
        case "machine":
            machine = section(status, "machines").get(name)
            return None if machine is None else _machine(name, machine)
        case _:
            model = section(status, "model")
            current = section(model, "model-status").get("current", "")
            return {"name": model["name"], "life": "alive", "status": current}


def _application(name: str, app: dict[str, Any]) -> dict[str, str]:
    state = section(app, "application-status")
    return {
        "name": name,
        "life": app.get("life") or "alive",
        "status": state.get("current", ""),
        "status-message": state.get("message", ""),
        "charm-name": app.get("charm-name", ""),
        "exposed": str(bool(app.get("exposed"))).lower(),
        "workload-version": app.get("version", ""),
    }


def _unit(name: str, unit: Mapping[str, Any]) -> dict[str, str]:
    workload, agent = section(unit, "workload-status"), section(unit, "juju-status")
    return {
        "name": name,
        "application": name.partition("/")[0],
        "life": agent.get("life") or "alive",
        "workload-status": workload.get("current", ""),
        "workload-message": workload.get("message", ""),
        "agent-status": agent.get("current", ""),
        "machine-id": unit.get("machine", ""),
        "public-address": unit.get("public-address", ""),
        "leader": str(bool(unit.get("leader"))).lower(),
    }


def _machine(name: str, machine: dict[str, Any]) -> dict[str, str]:
    state = section(machine, "juju-status")
    return {
        "id": name,
        "life": state.get("life") or "alive",
        "status": state.get("current", ""),
        "instance-status": section(machine, "machine-status").get("current", ""),
        "hostname": machine.get("hostname", ""),
    }
