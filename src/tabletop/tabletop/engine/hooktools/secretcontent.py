"""The content and the attributes of a secret, as the tools that add and change secrets take them."""

import base64
import binascii
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from tabletop.engine.durations import parse_duration
from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call
from tabletop.engine.rotation import ROTATIONS
from tabletop.engine.secrets import KEY, Draft
from tabletop.errors import TabletopError

_ID = re.compile(r"[0-9a-v]{20}\Z")
_LONGEST = 2**63 / 1e9
"""The seconds that don't fit into a duration of Go any more."""
_URI = re.compile(r"(?:secret:)?(?://[0-9a-f-]{36}/|[0-9a-f-]{36}/)?([0-9a-z]{20})\Z")


def secret_id(uri: str) -> str:
    """Return the id in a secret's URI.

    Raises:
        ToolError: it is none.
    """
    found = _URI.match(uri)
    if found is None or not _ID.match(found[1]):
        raise ToolError(f'secret URI "{uri}" not valid', 2)
    return found[1]


def content(call: Call, arguments: Sequence[str]) -> dict[str, str]:
    """Return the content that a call gives: `key[#base64|#file]=value` arguments, and the file of `--file`."""
    given: list[tuple[str, str]] = []
    for argument in arguments:
        # Padding of base64 at the end is no sign of a key.
        place = argument.rstrip("=").find("=")
        if place < 1:
            raise ToolError(f'key value "{argument}" not valid', 2)
        given.append((argument[:place], argument[place + 1 :]))
    given += call.mapping_file().items()
    found: dict[str, str] = {}
    for key, value in given:
        name, _, form = key.partition("#")
        if form not in ("", "base64", "file"):
            name = key
        if not KEY.match(name):
            raise ToolError(f'key "{name}" not valid', 2)
        found[name] = call.file(value) if form == "file" else _decode(value) if form else value
    return found


def describe(call: Call, draft: Draft) -> None:
    """Take the attributes that a call gives into a draft; an empty one changes nothing."""
    rotate, owner, expire = (call.options.get(name, "") for name in ("rotate", "owner", "expire"))
    moment = _moment(expire) if expire else None
    if rotate and rotate not in ROTATIONS:
        raise ToolError(f'rotate policy "{rotate}" not valid', 2)
    if owner and owner not in ("application", "unit"):
        raise ToolError(f'secret owner "{owner}" not valid', 2)
    draft.label = call.options.get("label") or draft.label
    draft.description = call.options.get("description") or draft.description
    draft.rotate = rotate or draft.rotate
    draft.expire = draft.expire if moment is None else moment


def _moment(text: str) -> float:
    """Return the time that an RFC 3339 time, or a duration from now, means."""
    try:
        moment = datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        moment = None
    if moment is not None:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    negative = text.startswith("-")
    try:
        seconds = parse_duration(text.lstrip("+-"))
    except TabletopError:
        seconds = _LONGEST
    if seconds >= _LONGEST:
        raise ToolError(f'expire time or duration "{text}" not valid', 2)
    if negative or seconds <= 0:
        raise ToolError(f'negative expire duration "{text}" not valid', 2)
    return time.time() + seconds


def _decode(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ToolError("illegal base64 data, or data that is no text") from None
