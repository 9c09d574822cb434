"""What an operator has of a running relay: metrics, the plan, and settings that change under it."""

import asyncio
import json
import logging
import socket
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeListener, FakeUplink
from prometheus_client.parser import text_string_to_metric_families

from iot_gateway import cli, config, control, registry
from iot_gateway.relay import Relay

GOOD = b'[{"n":"node-1/t","v":1,"seq":0}]'


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeListener.made, FakeUplink.made = [], []
    monkeypatch.setattr("iot_gateway.relay.DRAIN_SECONDS", 0.1)
    monkeypatch.setitem(registry._OWN["listeners"], "fake", "fakes:FakeListener")
    monkeypatch.setitem(registry._OWN["uplinks"], "fake", "fakes:FakeUplink")


class Setup:
    """A relay's configuration in parts that a test changes."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.path = directory / "config.toml"
        self.more = self.outbox = self.batch = self.listeners = ""
        self.top = 'gateway = "gw"'
        self.uplink = "hold = false"

    def write(self, **parts: str) -> None:
        for name, text in parts.items():
            assert hasattr(self, name)
            setattr(self, name, text)
        self.path.write_text(
            f"""
site = "site-1"
{self.top}
status_socket = "{self.directory}/status.sock"
[batch]
age_ms = 10
{self.batch}
[outbox]
directory = "{self.directory}/outbox"
{self.outbox}
[listeners.fake]
{self.listeners}
[uplink]
plugin = "fake"
{self.uplink}
{self.more}
"""
        )

    def run(self, test: Callable[[Relay], Awaitable[None]], **parts: str) -> None:
        self.write(**parts)

        async def inside() -> None:
            relay = Relay(config.load(self.path))
            task = asyncio.create_task(relay.run())
            try:
                await until(lambda: FakeListener.made and FakeListener.made[-1].running)
                await test(relay)
            finally:
                relay.stop()
                await task

        asyncio.run(inside())

    async def reload(self, relay: Relay, **parts: str) -> None:
        self.write(**parts)
        await relay.reload(self.path)
        assert len(FakeListener.made) == 1, "no connection of a node is dropped"


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def offer(payload: bytes = GOOD, token: int = 1) -> None:
    listener = FakeListener.made[-1]
    listener.intake.offer(listener.source, "node-1", "telemetry/node-1", payload, token)


async def stored(number: int, size: int = 0) -> None:
    """Store readings, some more than a segment can hold, and wait for their acknowledgement."""
    source = FakeListener.made[-1].source
    for _ in range(number):
        before = len(source.acknowledged)
        offer(json.dumps([{"n": "node-1/t", "vs": "x" * size}]).encode() if size else GOOD)
        await until(lambda before=before: len(source.acknowledged) > before)


async def scraped(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    text = await asyncio.to_thread(get)
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation.endswith(".") and family.type != "unknown" for family in families)
    counters = [family for family in families if family.type == "counter"]
    assert text.count(" counter\n") == len(counters)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


async def listening(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
            except ConnectionError:
                await asyncio.sleep(0.005)
            else:
                return


def test_metrics_tell_what_the_relay_does(setup: Setup, port: int):
    async def test(relay: Relay) -> None:
        await listening(port)
        offer()
        offer(b"bad", 2)
        await until(lambda: relay.status()["confirmed"] == 1 and relay.status()["dead_letters_total"] == 1)
        await until(lambda: relay.status()["outbox"]["dead-letters"]["entries"] == 0)
        seen = await scraped(port)
        expected = {
            ("iot_gateway_info", ("site-1", "gw")): 1,
            ("iot_gateway_readings_total", ()): 1,
            ("iot_gateway_listener_received_total", ("fake",)): 2,
            ("iot_gateway_listener_malformed_total", ("fake",)): 1,
            ("iot_gateway_listener_up", ("fake",)): 1,
            ("iot_gateway_refusing", ()): 0,
            ("iot_gateway_outbox_entries", ("telemetry",)): 0,
            ("iot_gateway_outbox_dropped_total", ("telemetry", "bytes")): 0,
            ("iot_gateway_uplink_connected", ()): 1,
            ("iot_gateway_uplink_confirmed_entries_total", ("telemetry",)): 1,
            ("iot_gateway_uplink_confirmed_messages_total", ("dead-letters",)): 1,
            ("iot_gateway_uplink_confirm_seconds_count", ("telemetry",)): 1,
            ("iot_gateway_uplink_confirm_seconds_bucket", ("telemetry", "+Inf")): 1,
            ("iot_gateway_commands", ("queued",)): 0,
            ("iot_gateway_commands_untold", ()): 0,
        }
        assert {key: seen[key] for key in expected} == expected
        assert seen["iot_gateway_outbox_appended_bytes_total", ("telemetry",)] > 100
        assert 10e6 < seen["process_resident_memory_bytes", ()] < 1e9
        assert seen["process_cpu_seconds_total", ()] > 0

    setup.run(test, more=f"[metrics]\nport = {port}")


def test_the_plan_is_asked_for_over_the_control_socket(
    setup: Setup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    async def test(relay: Relay) -> None:
        await stored(1)
        assert await asyncio.to_thread(cli.main, ["plan-buffer", "--config", str(setup.path)]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["room_bytes"] <= 2**30
        assert "there is room for" in answer["answer"]
        socket_path = config.load(setup.path).control_socket
        assert (await asyncio.to_thread(control.ask, socket_path, {"do": "plan-buffer"}))["when_full"] == "refuse"

    setup.run(test)
    assert cli.main(["plan-buffer", "--config", str(setup.path)]) == 1


def test_reload_moves_the_metrics(setup: Setup, port: int):
    async def test(relay: Relay) -> None:
        await listening(port)
        await setup.reload(relay, more="")
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        await setup.reload(relay, more=f"[metrics]\nport = {port}")
        await listening(port)

    setup.run(test, more=f"[metrics]\nport = {port}")


def test_reload_has_a_full_outbox_drop_the_oldest(setup: Setup):
    async def test(relay: Relay) -> None:
        await stored(8, size=100_000)
        for _ in range(8):
            offer(json.dumps([{"n": "node-1/t", "vs": "x" * 100_000}]).encode())
        await until(lambda: relay.status()["refusal"])
        await setup.reload(relay, outbox='max_bytes = 1048576\nfull = "drop-oldest"')
        await until(lambda: not relay.status()["refusal"])
        dropped = relay.status()["outbox"]["telemetry"]["dropped_total"]
        assert dropped["bytes"] > 0
        assert dropped["bytes"] + relay.status()["outbox"]["telemetry"]["entries"] == 16

    setup.run(test, outbox="max_bytes = 1048576", uplink="hold = true")


def test_reload_drops_what_is_too_old(setup: Setup):
    async def test(relay: Relay) -> None:
        await stored(3)
        await asyncio.sleep(0.05)
        assert relay.status()["summary"] == "0 s behind, 3 readings in the outbox"
        await setup.reload(relay, outbox="max_age = 0.02")
        await until(lambda: relay.status()["outbox"]["telemetry"]["dropped_total"] == {"bytes": 0, "age": 3})
        assert relay.status()["summary"] == "outbox empty"

    setup.run(test, uplink="hold = true")


def test_reload_changes_order_rate_window_and_batches(setup: Setup):
    async def test(relay: Relay) -> None:
        sender = FakeUplink.made[0].lanes["telemetry"]
        await stored(1)
        await until(lambda: len(sender.sent) == 1)
        sender.ready = False
        sender.on_change()
        await stored(20)
        await setup.reload(relay, batch="readings = 1", more='[resend]\norder = "newest-first"\nrate = 1')
        sender.ready = True
        sender.on_change()
        await until(lambda: len(sender.sent) == 2)
        await stored(2)
        await until(lambda: len(sender.sent) == 4)
        await asyncio.sleep(0.05)
        # One of those that waited, and both that came since.
        assert len(sender.sent) == 4
        await setup.reload(relay, batch="readings = 1\nwindow = 10", more="")
        await until(lambda: len(sender.sent) == 10)
        assert len(FakeUplink.made) == 1

    setup.run(test, uplink="hold = true")


def test_reload_changes_the_log_level(setup: Setup):
    before = logging.getLogger().level

    async def test(relay: Relay) -> None:
        await setup.reload(relay, top='gateway = "gw"\nlog_level = "DEBUG"')
        assert logging.getLogger().level == logging.DEBUG

    try:
        setup.run(test)
    finally:
        logging.getLogger().setLevel(before)


def test_reload_of_the_gateway_s_name_connects_the_uplink_anew_and_nobody_else(setup: Setup):
    async def test(relay: Relay) -> None:
        await setup.reload(relay, top='gateway = "other"')
        assert [uplink.gateway for uplink in FakeUplink.made] == ["gw", "other"]
        await stored(1)
        await until(lambda: relay.status()["confirmed"] == 1)
        ((envelope, _),) = FakeUplink.made[1].lanes["telemetry"].sent
        assert envelope.key == "site-1.other"

    setup.run(test)


def test_reload_adds_a_listener_and_takes_it_away_beside_another(setup: Setup):
    async def test(relay: Relay) -> None:
        first = FakeListener.made[0]
        setup.write(listeners='[listeners.second]\nplugin = "fake"')
        await relay.reload(setup.path)
        await until(lambda: FakeListener.made[-1].running)
        assert set(relay.status()["listeners"]) == {"fake", "second"}
        offer()
        await until(lambda: relay.status()["listeners"]["second"]["payloads"] == 1)
        setup.write(listeners="")
        await relay.reload(setup.path)
        assert [first.running, FakeListener.made[-1].running] == [True, False]
        assert set(relay.status()["listeners"]) == {"fake"}

    setup.run(test)


def test_reloads_that_come_together_are_followed_one_after_the_other(setup: Setup):
    async def test(relay: Relay) -> None:
        setup.write(uplink="hold = true")
        first = asyncio.create_task(relay.reload(setup.path))
        await asyncio.sleep(0)
        setup.write(uplink="hold = false")
        await asyncio.gather(first, relay.reload(setup.path))
        assert len(FakeListener.made) == 1
        await stored(1)
        await until(lambda: relay.status()["confirmed"] == 1)

    setup.run(test)
