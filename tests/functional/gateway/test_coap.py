"""CoAP at a running relay, by nodes that are not ours: libcoap's client, and aiocoap with OSCORE through kills."""

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import aiocoap
import cbor2
import pytest
from aiocoap.credentials import CredentialsMap
from daemons import free_port, needed
from relay_rig import Rig

from iot_gateway.listeners.coap.security import make_keys
from iot_gateway.nodes import Node, file

sys.path.insert(0, str(Path(__file__).parents[3] / "src/iot-gateway/tests"))

from coap_rig import NodeSide

PLAIN = "thermometer"
KEYS = make_keys("kitchen")
PORT = free_port()


@pytest.fixture
def coap(make_rig: Callable[..., Rig]) -> Rig:
    """A rig whose relay listens for CoAP as well."""
    rig = make_rig(tls=f"[listeners.coap]\nport = {PORT}\nallow_plain = true\n[listeners.coap.lwm2m]\n")
    known = [Node(PLAIN), Node("kitchen", keys=KEYS)]
    (rig.directory / "nodes.json").write_text(file.text(known))
    rig.relay.start()
    rig.wait_for(lambda s: s["listeners"]["coap"]["connected"] and s["uplink"]["connected"], "a connected relay")
    return rig


def libcoap(*arguments: str, payload: Path | None = None, path: str = "telemetry?node=thermometer") -> str:
    """Send a request with libcoap's client; return what it prints of the answer."""
    sends = ["-f", str(payload)] if payload else []
    uri = f"coap://127.0.0.1:{PORT}/{path}"
    client = needed("coap-client-notls", "libcoap3-bin")
    # It prints the code of an answer that is no success, and -v 7 all of it.
    ran = subprocess.run([client, "-B", "10", "-v", "7", *arguments, *sends, uri], capture_output=True, timeout=20)
    return (ran.stdout + ran.stderr).decode(errors="replace")


def test_libcoap_sends_telemetry(coap: Rig, tmp_path: Path):
    pack = tmp_path / "pack"
    pack.write_bytes(b'[{"n":"thermometer/a","v":1}]')
    assert "2.04" in libcoap("-m", "post", "-t", "110", payload=pack)
    pack.write_bytes(cbor2.dumps([{0: "thermometer/b", 2: 2}]))
    assert "2.04" in libcoap("-m", "post", "-t", "112", payload=pack)
    pack.write_bytes(b'[{"n":"thermometer/c","v":3}]')
    assert "2.04" in libcoap("-m", "post", "-N", "-t", "110", payload=pack)
    large = b",".join(b'{"n":"thermometer/large/%d","v":%d}' % (number, number) for number in range(300))
    pack.write_bytes(b"[" + large + b"]")
    assert "2.04" in libcoap("-m", "post", "-b", "256", "-t", "110", payload=pack)
    coap.wait_for(lambda status: status["confirmed"] == 303, "all confirmed")
    assert {name: node.distinct for name, node in coap.account().items()} == {PLAIN: 303}


def test_libcoap_is_told_what_is_wrong(coap: Rig, tmp_path: Path):
    pack = tmp_path / "pack"
    pack.write_bytes(b"[]")
    answer = libcoap("-m", "post", "-t", "110", payload=pack)
    assert "4.00" in answer
    assert "an empty SenML pack" in answer
    assert "4.15" in libcoap("-m", "post", "-t", "60", payload=pack)
    assert "4.01" in libcoap("-m", "post", "-t", "110", payload=pack, path="telemetry?node=stranger")
    assert "4.01" in libcoap("-m", "post", "-t", "110", payload=pack, path="telemetry?node=kitchen")
    assert "</telemetry>" in libcoap("-m", "get", path=".well-known/core")
    status = coap.wait_for(lambda status: status["dead_letters_total"] == 1, "a dead letter")
    assert [stranger["name"] for stranger in status["nodes"]["inbox"]] == ["stranger"]


class OscoreNode(threading.Thread):
    """A node that sends readings one after the other behind OSCORE, each until it is acknowledged."""

    def __init__(self):
        super().__init__()
        self.acknowledged = 0
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.error = error
            raise

    async def _run(self) -> None:
        context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
        context.client_credentials = CredentialsMap()
        base = f"coap://127.0.0.1:{PORT}"
        context.client_credentials[f"{base}/*"] = NodeSide(KEYS)
        while not self.ended.is_set():
            payload = b'[{"n":"kitchen/t","v":20,"seq":%d}]' % self.acknowledged
            request = aiocoap.Message(code=aiocoap.POST, uri=f"{base}/telemetry", payload=payload, content_format=110)
            try:
                async with asyncio.timeout(2):
                    answer = await context.request(request).response
            except (aiocoap.error.Error, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            if answer.code == aiocoap.CHANGED:
                self.acknowledged += 1
            else:
                await asyncio.sleep(0.05)
        await context.shutdown()


def test_what_is_acknowledged_survives_kills(coap: Rig):
    rounds = 8
    node = OscoreNode()
    node.start()
    for _ in range(rounds):
        before = node.acknowledged
        deadline = time.monotonic() + 20
        while node.acknowledged < before + 20:
            assert time.monotonic() < deadline, node.error
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2))
        coap.relay.kill()
        coap.relay.start()
    node.ended.set()
    node.join(20)
    assert node.error is None
    coap.wait_until_empty()
    kitchen = coap.account()["kitchen"]
    assert kitchen.distinct >= node.acknowledged
    assert kitchen.lost == 0
    # A reading that was stored and not acknowledged comes again; so do those that one kill finds on their way up.
    assert kitchen.duplicates <= rounds * (400 + 1)
