"""The tools about a unit's storage."""

import re
from typing import Any

from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call

_ID = re.compile(r"[a-z](?:[a-z0-9]*(?:-[a-z0-9]*[a-z][a-z0-9]*)*)/(?:0|[1-9][0-9]*)\Z")
_POOL = re.compile(r"[a-zA-Z]+[-?a-zA-Z0-9]*\Z")
_COUNT = re.compile(r"-?[0-9]+\Z")
_SIZE = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[MGTPEZY](?:i?B)?\Z")


def storage_list(call: Call) -> str:
    """List the unit's storage."""
    name = call.argument(0)
    rows = call.context.model.store.all("SELECT id, name FROM storage WHERE unit = ? ORDER BY id", call.context.unit)
    return call.render([row["id"] for row in rows if name in (None, "", row["name"])])


def storage_get(call: Call) -> str:
    """Return where a piece of storage is."""
    row = _instance(call)
    values = {"kind": "filesystem", "location": row["location"]}
    key = call.argument(0)
    if not key:
        return call.render(values)
    if key not in values:
        raise ToolError(f'invalid storage attribute "{key}"')
    return call.render(values[key])


def _instance(call: Call) -> Any:
    context = call.context
    given = call.options.get("s")
    wanted = given or (context.event.storage_id if context.event else "")
    if not wanted:
        raise ToolError("no storage instance specified", 2)
    if given is not None and not _ID.match(given):
        raise ToolError(f'invalid value "{given}" for option -s: invalid storage ID "{given}"', 2)
    row = context.model.store.one("SELECT * FROM storage WHERE id = ? AND unit = ?", wanted, context.unit)
    if row is None:
        raise ToolError(
            f'invalid value "{wanted}" for option -s: storage attachment {wanted}:{context.unit} not found', 2
        )
    return row


def storage_add(call: Call) -> str:
    """Ask for more instances of a kind of storage; whether the charm has it is seen when the hook ends."""
    context = call.context
    if not call.arguments:
        raise ToolError("storage add requires a storage directive", 2)
    wanted: dict[str, int] = {}
    for argument in call.arguments:
        name, equals, text = argument.partition("=")
        if not name or "=" in text:
            raise ToolError(f'expected "name=constraints" or "name", got "{argument}"', 2)
        if name in wanted:
            raise ToolError(f'storage "{name}" specified more than once', 2)
        wanted[name] = _count(name, text) if equals else 1
    for name, count in wanted.items():
        context.new_storage[name] = context.new_storage.get(name, 0) + count
    return ""


def _count(name: str, text: str) -> int:
    count = 0
    more = False
    for part in text.split(","):
        if _COUNT.match(part):
            count = int(part)
            if count <= 0:
                raise ToolError(
                    f'cannot parse constraints for storage "{name}": cannot parse count:'
                    f' count must be greater than zero, got "{part}"',
                    2,
                )
        elif _POOL.match(part) or _SIZE.match(part):
            more = True
    if more:
        raise ToolError(f'only count can be specified for "{name}"', 2)
    if not count:
        raise ToolError(
            f'cannot parse constraints for storage "{name}":'
            " storage constraints require at least one field to be specified",
            2,
        )
    return count
