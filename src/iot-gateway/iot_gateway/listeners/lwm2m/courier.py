"""Commands to LwM2M nodes: Write and Execute (LwM2M 1.1 core, sections 6.3.3 and 6.3.5)."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiocoap is only partly typed.

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiocoap
import aiocoap.error
import orjson
from aiocoap.numbers.codes import Code

from iot_gateway.desk import Command, Courier, NotReachedError, RefusedError, State
from iot_gateway.desk.command import Value
from iot_gateway.listeners.lwm2m import objects, tlv, values
from iot_gateway.listeners.lwm2m.objects import Kind, Path
from iot_gateway.listeners.lwm2m.registration import Registration, Registry

Ask = Callable[[Registration, Any], Awaitable[Any]]
"""Sends a request to a node and returns its answer; raises aiocoap's errors, or TimeoutError."""

MOST_INTEGER: Final = 2**63
"""What no integer of a resource reaches (LwM2M 1.1 core, appendix C)."""
_FORMATS: Final = (values.TEXT, values.TLV, values.SENML_JSON)
"""What a write is tried in, one after the other: no single one is obligatory in all versions."""


class Lwm2mCourier(Courier):
    """Carries commands to nodes that are registered."""

    protocol = "lwm2m"

    def __init__(self, registry: Registry, ask: Ask):
        self._registry = registry
        self._ask = ask

    def reaches(self, node: str) -> bool:
        """Tell whether the node is registered, and awake if it sleeps at times."""
        registration = self._registry.of_node(node)
        return registration is not None and registration.reachable

    async def carry(self, command: Command) -> State:
        """Write the value, or execute where there is none."""
        registration = self._registry.of_node(command.node)
        if registration is None:
            raise NotReachedError("it is no longer registered")
        path = objects.target(command.target)
        if path is None:
            raise RefusedError(f"{command.target} is neither the path of a resource nor a name of one")
        uri_path = (*registration.offer.root, *map(str, path))
        try:
            if command.value is None:
                answer = await self._ask(registration, aiocoap.Message(code=Code.POST, uri_path=uri_path))
            else:
                answer = await self._write(registration, uri_path, path, command.value)
        except (aiocoap.error.Error, TimeoutError) as error:
            # What was thought to listen does not: it will be heard of.
            registration.awake_until = 0.0
            raise NotReachedError(f"it does not answer: {error or 'time is up'}") from error
        if answer.code.is_successful():
            return State.APPLIED
        text = f"{answer.code}: {answer.payload[:200].decode(errors='replace')}".rstrip(": ")
        if answer.code == Code.SERVICE_UNAVAILABLE:
            raise NotReachedError(text)
        raise RefusedError(text)

    async def _write(self, registration: Registration, uri_path: tuple[str, ...], path: Path, value: Value) -> Any:
        answer: Any = None
        for content_format in _FORMATS:
            payload = written(path, value, content_format)
            request = aiocoap.Message(code=Code.PUT, uri_path=uri_path, payload=payload, content_format=content_format)
            answer = await self._ask(registration, request)
            if answer.code not in (Code.UNSUPPORTED_CONTENT_FORMAT, Code.NOT_ACCEPTABLE):
                break
        return answer


def written(path: Path, value: Value, content_format: int) -> bytes:
    """Return a value for a resource.

    Raises:
        RefusedError: the resource can't hold it.
    """
    known = objects.resource(path)
    typed = _typed(known.kind if known else None, value)
    if content_format == values.TEXT:
        return (str(int(typed)) if isinstance(typed, bool) else str(typed)).encode()
    if content_format == values.SENML_JSON:
        label = "vb" if isinstance(typed, bool) else "vs" if isinstance(typed, str) else "v"
        return orjson.dumps([{"bn": f"/{path[0]}/{path[1]}/", "n": str(path[2]), label: typed}])
    match typed:
        case bool():
            content = bytes((typed,))
        case int():
            content = tlv.from_integer(typed)
        case float():
            content = tlv.from_float(typed)
        case str():
            content = typed.encode()
    return tlv.encode([tlv.Entry(tlv.Kind.RESOURCE, path[2], content)])


def _typed(kind: Kind | None, value: Value) -> bool | int | float | str:
    match kind, value:
        case Kind.BOOLEAN, bool() | 0.0 | 1.0:
            return bool(value)
        case Kind.INTEGER | None, float() | int() if _is_integer(value):
            return int(value)
        case Kind.FLOAT, float() | int() if not isinstance(value, bool):
            return float(value)
        case Kind.STRING, str():
            return value
        case None, bool() | float() | str():
            return value
        case _:
            raise RefusedError(f"{value!r} is no {kind}")


def _is_integer(value: float) -> bool:
    return not isinstance(value, bool) and -MOST_INTEGER <= value < MOST_INTEGER and float(value).is_integer()


async def answered(request: Any, seconds: float) -> Any:
    """Wait for a request's answer.

    Raises:
        TimeoutError: it did not come in time.
    """
    async with asyncio.timeout(seconds):
        return await request.response
