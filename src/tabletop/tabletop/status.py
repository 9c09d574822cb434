"""A model's status in tables, in the manner of `juju status`."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from tabletop.format import table

Json = Mapping[str, Any]

_MAX_VERSION_WIDTH = 15
_DOING = re.compile(r"running (?:action )?(\S+)")


def tabular(status: Json, *, relations: bool = False, storage: bool = False) -> str:
    """Lay out a status, given in the shape of `juju status --format json`.

    Args:
        status: the model's status.
        relations: show the relations too.
        storage: show the storage too.
    """
    sections = [_model(status), _applications(status), _units(status), _machines(status)]
    if relations:
        sections.append(_relations(status))
    if storage:
        sections.append(_storage(status))
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def units_in_error(status: Json) -> list[str]:
    """Return the units whose last hook failed."""
    return [name for name, unit, _ in each_unit(status) if _current(unit, "workload-status") == "error"]


def each_unit(status: Json) -> Iterator[tuple[str, Json, int]]:
    """Give each unit with its name and its depth: 1 for a subordinate, which follows its principal, else 0."""
    units: dict[str, Json] = {}
    for app in section(status, "applications").values():
        units.update(section(app, "units"))
    for name in naturally(units):
        yield name, units[name], 0
        below = section(units[name], "subordinates")
        for sub in naturally(below):
            yield sub, below[sub], 1


def naturally(names: Iterable[str]) -> list[str]:
    """Sort names with the numbers in them by value: app/2 before app/10."""
    return sorted(names, key=lambda name: [(len(part), part) if part.isdigit() else (0, part) for part in _parts(name)])


def section(entity: Json, key: str) -> dict[str, Any]:
    """Return the mapping under a key; an empty one if there is none."""
    return cast("dict[str, Any]", entity.get(key) or {})


def _model(status: Json) -> list[str]:
    model = status["model"]
    cloud = "/".join(part for part in (model.get("cloud"), model.get("region")) if part)
    header = ["Model", "Controller", "Cloud/Region", "Version"]
    row = [model["name"], model["controller"], cloud, model["version"]]
    if model.get("sla"):
        header.append("SLA")
        row.append(model["sla"])
    timestamp = section(status, "controller").get("timestamp")
    if timestamp:
        header.append("Timestamp")
        row.append(timestamp)
    message = section(model, "model-status").get("message")
    if message:
        header.append("Notes")
        row.append(message)
    return table(header, [row])


def _applications(status: Json) -> list[str]:
    applications = section(status, "applications")
    rows: list[list[object]] = []
    below = [unit for unit, _, depth in each_unit(status) if depth]
    for name in naturally(applications):
        app = applications[name]
        units = section(app, "units") or [unit for unit in below if unit.rpartition("/")[0] == name]
        scale = app.get("scale", len(units))
        version = str(app.get("version") or "").split("\n")[0]
        if len(version) > _MAX_VERSION_WIDTH:
            version = version[: _MAX_VERSION_WIDTH - 3] + "..."
        rows.append(
            [
                name,
                version,
                _current(app, "application-status"),
                f"{len(units)}/{scale}" if len(units) != scale else scale,
                app.get("charm-name", ""),
                app.get("charm-channel", ""),
                app.get("charm-rev", ""),
                "yes" if app.get("exposed") else "no",
                _message(app, "application-status"),
            ]
        )
    header = ("App", "Version", "Status", "Scale", "Charm", "Channel", "Rev", "Exposed", "Message")
    return table(header, rows, right=(3, 6)) if rows else []


def _units(status: Json) -> list[str]:
    rows: list[list[object]] = []
    for name, unit, depth in each_unit(status):
        doing = _doing(unit)
        message = _message(unit, "workload-status")
        if _current(unit, "juju-status") == "allocating" and not message:
            message = _message(unit, "juju-status")
        rows.append(
            [
                "  " * depth + name + ("*" if unit.get("leader") else ""),
                _current(unit, "workload-status"),
                _current(unit, "juju-status"),
                unit.get("machine", ""),
                unit.get("public-address", ""),
                ",".join(unit.get("open-ports") or []),
                f"({doing}) {message}" if doing else message,
            ]
        )
    header = ("Unit", "Workload", "Agent", "Machine", "Public address", "Ports", "Message")
    return table(header, rows) if rows else []


def machine_rows(status: Json) -> tuple[Sequence[str], list[list[object]]]:
    """Return the header and the rows of the table of machines."""
    machines = section(status, "machines")
    rows: list[list[object]] = []
    for number in naturally(machines):
        machine = machines[number]
        base = section(machine, "base")
        rows.append(
            [
                number,
                _current(machine, "juju-status"),
                machine.get("dns-name", ""),
                machine.get("display-name") or machine.get("instance-id", ""),
                f"{base['name']}@{base['channel']}" if base else "",
                "",
                _message(machine, "machine-status"),
            ]
        )
    return ("Machine", "State", "Address", "Inst id", "Base", "AZ", "Message"), rows


def _machines(status: Json) -> list[str]:
    header, rows = machine_rows(status)
    return table(header, rows) if rows else []


def storage_rows(storage: Json) -> tuple[Sequence[str], list[list[object]]]:
    """Return the header and the rows of the table of storage, given in the shape of `juju storage --format json`."""
    rows: list[list[object]] = []
    for storage_id, body in sorted(section(storage, "storage").items()):
        units = section(section(body, "attachments"), "units")
        for unit, attachment in units.items() or {"": cast("Json", {})}.items():
            rows.append(
                [
                    unit,
                    storage_id,
                    body.get("kind", ""),
                    attachment.get("location", ""),
                    _current(body, "status"),
                    _message(body, "status"),
                ]
            )
    return ("Storage unit", "Storage ID", "Type", "Mountpoint", "Status", "Message"), rows


def _storage(status: Json) -> list[str]:
    header, rows = storage_rows(section(status, "storage"))
    return table(header, rows) if rows else []


def _relations(status: Json) -> list[str]:
    rows = sorted(
        (row["provider"], row["requirer"], row["interface"], row["type"])
        for row in cast("list[Json]", status.get("relations") or [])
    )
    return table(("Integration provider", "Requirer", "Interface", "Type"), rows) if rows else []


def _doing(unit: Json) -> str:
    if _current(unit, "juju-status") != "executing":
        return ""
    found = _DOING.search(_message(unit, "juju-status"))
    return found[1] if found else ""


def _current(entity: Json, key: str) -> str:
    return str(section(entity, key).get("current") or "")


def _message(entity: Json, key: str) -> str:
    return str(section(entity, key).get("message") or "")


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
