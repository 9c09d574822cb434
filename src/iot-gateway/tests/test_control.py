"""The control socket of a running relay."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from iot_gateway import control
from iot_gateway.errors import GatewayError, NotRunningError, RequestRefusedError


async def double(request: dict[str, Any]) -> int:
    if "number" not in request:
        raise GatewayError("number is missing")
    return 2 * request["number"]


async def broken(request: dict[str, Any]) -> None:
    raise ZeroDivisionError


HANDLERS = {"double": double, "broken": broken}


async def ask(path: Path, request: dict[str, Any]) -> Any:
    return await asyncio.to_thread(control.ask, path, request)


async def test_it_answers_its_owner_alone(tmp_path: Path):
    path = tmp_path / "control.sock"
    async with control.serve(path, HANDLERS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await ask(path, {"do": "double", "number": 21}) == 42
    assert not path.exists()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"do": "double"}, "number is missing"),
        ({"do": "triple"}, "do='triple': known are broken, double"),
        ({"do": ["double"]}, "known are"),
        ({}, "do=None"),
        ({"do": "broken"}, "not foreseen"),
    ],
)
async def test_it_refuses_with_the_reason(tmp_path: Path, request_: dict[str, Any], reason: str):
    path = tmp_path / "control.sock"
    async with control.serve(path, HANDLERS):
        with pytest.raises(RequestRefusedError) as refused:
            await ask(path, request_)
    assert reason in str(refused.value)


@pytest.mark.parametrize("noise", [b"", b"[]\n", b"{\n", b"\xff" * 100_000, b'{"do": "double"'])
async def test_noise_does_not_end_it(tmp_path: Path, noise: bytes):
    path = tmp_path / "control.sock"
    async with control.serve(path, HANDLERS):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(noise)
        writer.write_eof()
        await reader.read()
        writer.close()
        assert await ask(path, {"do": "double", "number": 1}) == 2


async def test_nobody_there(tmp_path: Path):
    with pytest.raises(NotRunningError, match="no relay answers"):
        await ask(tmp_path / "none.sock", {"do": "double"})
