"""The relay as a whole, with transports that a test plays and an outbox on disk."""

import asyncio
import gzip
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeListener, FakeUplink

from iot_gateway import cli, config, control, registry, status
from iot_gateway.errors import NotRunningError, OutboxUnavailableError, RequestRefusedError
from iot_gateway.relay import Relay

GOOD = b'[{"n":"node-1/t","v":1,"seq":0}]'


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeListener.made, FakeUplink.made = [], []
    monkeypatch.setitem(registry._OWN["listeners"], "fake", "fakes:FakeListener")
    monkeypatch.setitem(registry._OWN["uplinks"], "fake", "fakes:FakeUplink")


def text(directory: Path, *, site: str = "site-1", more: str = "", listener: str = "", uplink: str = "") -> str:
    return f"""
site = "{site}"
gateway = "gw"
status_socket = "{directory}/status.sock"
{more}
[batch]
age_ms = 10
[outbox]
directory = "{directory}/outbox"
[listeners.fake]
{listener}
[uplink]
plugin = "fake"
{uplink}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "config.toml"
    made.write_text(text(tmp_path))
    return made


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def run(path: Path, test: Callable[[Relay], Awaitable[None]]) -> None:
    async def inside() -> None:
        relay = Relay(config.load(path))
        task = asyncio.create_task(relay.run())
        try:
            await until(lambda: FakeListener.made and FakeListener.made[0].running)
            await test(relay)
        finally:
            relay.stop()
            await task

    asyncio.run(inside())


def offer(payload: bytes, token: int) -> None:
    listener = FakeListener.made[-1]
    listener.intake.offer(listener.source, "node-1", "telemetry/node-1", payload, token)


def test_payloads_are_stored_acknowledged_sent_and_confirmed(path: Path):
    async def test(relay: Relay) -> None:
        offer(GOOD, 1)
        offer(b"bad", 2)
        await until(lambda: relay.status()["confirmed"] == 1 and relay.status()["dead_letters_total"] == 1)
        assert sorted(FakeListener.made[0].source.acknowledged) == [1, 2]
        ((envelope, _),) = FakeUplink.made[0].lanes["telemetry"].sent
        assert json.loads(gzip.decompress(envelope.body))["node"] == "node-1"
        ((letter, _),) = FakeUplink.made[0].lanes["dead-letters"].sent
        assert letter.body == b"bad"
        seen = relay.status()
        assert (seen["received"], seen["readings"], seen["malformed"], seen["refusal"]) == (2, 1, 1, None)
        assert seen["outbox"]["telemetry"]["entries"] == 0

    run(path, test)
    assert FakeListener.made[0].quiet


def test_what_a_listener_still_takes_is_waited_for_and_stored(path: Path, tmp_path: Path):
    async def test(relay: Relay) -> None:
        former = FakeListener.made[0]
        former.drains = True
        path.write_text(text(tmp_path, listener='name = "y"'))
        reload = asyncio.create_task(relay.reload(path))
        await until(lambda: former.quiet)
        await asyncio.sleep(0.05)
        assert former.running
        former.intake.offer(former.source, "node-1", "telemetry/node-1", GOOD, 1)
        former.drains = False
        await reload
        assert former.source.acknowledged == [1]
        assert not former.running

    run(path, test)


def test_what_was_not_confirmed_is_sent_after_a_restart(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path.write_text(text(tmp_path, uplink="hold = true"))

    async def store(relay: Relay) -> None:
        offer(GOOD, 1)
        await until(lambda: FakeListener.made[0].source.acknowledged)

    run(path, store)
    path.write_text(text(tmp_path))
    FakeListener.made.clear()
    caplog.set_level("INFO")

    async def confirm(relay: Relay) -> None:
        await until(lambda: relay.status()["confirmed"] == 1)

    run(path, confirm)
    assert "1 entries of an earlier run" in caplog.text


def test_reload_follows_settings_and_connects_anew_only_what_changed(path: Path, tmp_path: Path):
    async def test(relay: Relay) -> None:
        path.write_text(text(tmp_path, site="site-2"))
        await relay.reload(path)
        offer(GOOD, 1)
        await until(lambda: relay.status()["confirmed"] == 1)
        assert FakeUplink.made[0].lanes["telemetry"].sent[0][0].key == "site-2.gw"
        assert len(FakeListener.made) == len(FakeUplink.made) == 1
        path.write_text(text(tmp_path, site="site-2", listener='name = "y"'))
        await relay.reload(path)
        await until(lambda: FakeListener.made[-1].running)
        assert [listener.running for listener in FakeListener.made] == [False, True]
        assert FakeListener.made[0].quiet
        path.write_text(text(tmp_path, site="site-2", listener='name = "y"', uplink="hold = false"))
        await relay.reload(path)
        offer(GOOD, 2)
        await until(lambda: relay.status()["confirmed"] == 2)
        assert len(FakeUplink.made) == 2
        assert len(FakeUplink.made[1].lanes["telemetry"].sent) == 1

    run(path, test)


def test_reload_keeps_the_former_configuration_if_the_new_one_is_bad(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async def test(relay: Relay) -> None:
        path.write_text(text(tmp_path, site="a.b"))
        await relay.reload(path)
        assert relay.status()["site"] == "site-1"
        assert "the former one stays" in caplog.text

    run(path, test)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"listener": "nonsense = 1"}, "nonsense"),
        ({"listener": 'breaks = "made"'}, "this listener can't be made"),
        ({"uplink": "breaks = true"}, "this uplink can't be made"),
        ({"uplink": 'plugin = "none"'}, "'none'"),
        ({"listener": '[listeners.other]\nplugin = "none"'}, "'none'"),
        ({"listener": '[listeners.other]\nplugin = "fake"\nbreaks = "made"'}, "this listener can't be made"),
        ({"nodes": "{"}, "nodes.json"),
    ],
)
def test_a_reload_that_fails_leaves_nothing_of_the_new_configuration(
    path: Path, tmp_path: Path, fault: dict[str, str], reason: str
):
    nodes = tmp_path / "nodes.json"
    nodes.write_text('{"nodes": {"node-1": {}}}')

    def written(*, listener: str = "", uplink: str = "", **more: str) -> str:
        made = text(tmp_path, more=f'nodes_file = "{nodes}"', listener=listener, uplink=uplink, **more)
        return made.replace('plugin = "fake"\nplugin', "plugin")

    path.write_text(written())

    async def test(relay: Relay) -> None:
        before = relay.status()
        fields = {"listener": 'name = "y"', "uplink": "hold = true", **fault}
        nodes.write_text(fields.pop("nodes", '{"nodes": {"node-1": {}, "node-2": {}}}'))
        path.write_text(written(site="site-2", **fields).replace("[outbox]", "[outbox]\nmax_bytes = 33554432"))
        await relay.reload(path)
        seen = relay.status()
        assert reason in seen["config_error"]
        assert (seen["site"], seen["nodes"]) == (before["site"], before["nodes"])
        assert seen["outbox"]["telemetry"]["max_bytes"] == before["outbox"]["telemetry"]["max_bytes"]
        assert list(seen["listeners"]) == ["fake"]
        assert FakeListener.made[0].running
        assert not FakeListener.made[0].quiet
        FakeListener.made[0].intake.offer(FakeListener.made[0].source, "node-1", "telemetry/node-1", GOOD, 1)
        await until(lambda: relay.status()["confirmed"] == 1)
        assert FakeUplink.made[0].lanes["telemetry"].sent[0][0].key == "site-1.gw"
        nodes.write_text('{"nodes": {"node-1": {}, "node-2": {}}}')
        path.write_text(written(site="site-2"))
        await relay.reload(path)
        seen = relay.status()
        assert (seen["site"], seen["nodes"]["known"], seen["config_error"]) == ("site-2", 2, None)

    run(path, test)


def test_a_listener_that_breaks_down_over_its_settings_makes_room_for_another(path: Path, tmp_path: Path):
    async def test(relay: Relay) -> None:
        path.write_text(text(tmp_path, site="site-2", listener='breaks = "configured"'))
        await relay.reload(path)
        await until(lambda: FakeListener.made[-1].running)
        assert [listener.running for listener in FakeListener.made] == [False, True]
        await relay.reload(path)
        assert FakeListener.made[-1].running
        assert len(FakeListener.made) == 2
        assert relay.status()["site"] == "site-2"

    run(path, test)


def test_a_reload_under_way_is_finished_before_the_relay_leaves(path: Path, tmp_path: Path):
    async def test(relay: Relay) -> None:
        FakeListener.made[0].intake.offer(FakeListener.made[0].source, "node-1", "telemetry/node-1", GOOD, 1)
        path.write_text(text(tmp_path, listener='name = "y"'))
        reload = asyncio.create_task(relay.reload(path))
        await asyncio.sleep(0)
        relay.stop()
        await reload
        await relay.reload(path)

    run(path, test)
    assert [listener.running for listener in FakeListener.made] == [False, False]


def test_what_needs_a_restart_is_said(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async def test(relay: Relay) -> None:
        path.write_text(text(tmp_path).replace("status.sock", "other.sock"))
        await relay.reload(path)
        assert "only with a restart" in caplog.text

    run(path, test)


def test_what_listeners_remember_stays_where_it_is(path: Path, tmp_path: Path):
    async def test(relay: Relay) -> None:
        path.write_text(text(tmp_path, listener='name = "y"').replace("/outbox", "/elsewhere/outbox"))
        await relay.reload(path)
        first, second = FakeListener.made
        assert second.state == first.state

    run(path, test)


def test_a_fault_that_nobody_foresaw_ends_the_relay(path: Path, tmp_path: Path):
    path.write_text(text(tmp_path, listener="fail = true"))

    async def inside() -> None:
        await Relay(config.load(path)).run()

    with pytest.raises(RuntimeError, match="nobody foresaw"):
        asyncio.run(inside())
    assert not (tmp_path / "status.sock").exists()


def test_two_relays_cannot_share_an_outbox(path: Path):
    async def test(relay: Relay) -> None:
        with pytest.raises(OutboxUnavailableError):
            Relay(config.load(path))

    run(path, test)


def test_the_status_socket(path: Path, tmp_path: Path):
    async def test(relay: Relay) -> None:
        seen = await asyncio.to_thread(status.ask, tmp_path / "status.sock")
        assert seen["gateway"] == "gw"

    run(path, test)
    with pytest.raises(NotRunningError):
        status.ask(tmp_path / "status.sock")


def test_the_command_line(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert cli.main(["check-config", "--config", str(path)]) == 0
    assert cli.main(["status", "--config", str(path)]) == 1
    assert "no relay answers" in capsys.readouterr().err
    monkeypatch.setattr(status, "ask", lambda _: {"gateway": "gw"})
    assert cli.main(["status", "--config", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"gateway": "gw"}
    assert cli.main(["run", "--config", str(tmp_path / "none")]) == 1
    with pytest.raises(SystemExit):
        cli.main([])


def test_signals(path: Path, tmp_path: Path):
    async def inside() -> None:
        task = asyncio.create_task(cli._relay(config.load(path), path))
        await until(lambda: FakeListener.made and FakeListener.made[0].running)
        path.write_text(text(tmp_path, listener='name = "y"'))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(FakeListener.made) == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await task

    asyncio.run(inside())


def test_run_ends_with_its_relay(path: Path, monkeypatch: pytest.MonkeyPatch):
    async def relay(*_: Any) -> None:
        pass

    monkeypatch.setattr(cli, "_relay", relay)
    assert cli.main(["run", "--config", str(path)]) == 0


def test_commands_are_taken_listed_cancelled_and_told_to_the_chain(path: Path, tmp_path: Path):
    nodes = tmp_path / "nodes.json"
    nodes.write_text('{"nodes": {"node-1": {}}}')
    path.write_text(text(tmp_path, more=f'nodes_file = "{nodes}"'))
    socket = config.load(path).control_socket

    async def test(relay: Relay) -> None:
        async def ask(do: str, **fields: Any) -> Any:
            return await asyncio.to_thread(control.ask, socket, {"do": do, **fields})

        given = await ask("send-command", id="one", node="node-1", target="light", value=60, origin="test")
        assert (given["state"], given["value"]) == ("queued", 60)
        with pytest.raises(RequestRefusedError, match="node='node-2'"):
            await ask("send-command", node="node-2", target="light")
        with pytest.raises(RequestRefusedError, match="ttl=-1"):
            await ask("send-command", node="node-1", target="light", ttl=-1)
        with pytest.raises(RequestRefusedError, match="state='gone'"):
            await ask("list-commands", state="gone")
        assert [command["id"] for command in await ask("list-commands", state="queued")] == ["one"]
        assert (await ask("cancel-command", id="one", reason="enough"))["state"] == "cancelled"
        await until(lambda: relay.status()["confirmed"] == 2)
        lines = [
            json.loads(line)
            for envelope, _ in FakeUplink.made[0].lanes["telemetry"].sent
            for line in gzip.decompress(envelope.body).splitlines()
        ]
        assert [(line["sensor"], line["text"], line["reason"]) for line in lines] == [
            ("command/light", "queued", ""),
            ("command/light", "cancelled", "enough"),
        ]
        assert relay.status()["commands"]["by_state"]["cancelled"] == 1

    run(path, test)


def test_topics_of_plain_payloads(path: Path, tmp_path: Path):
    rule = '[[plain]]\ntopic = "telemetry/+/#"\nformat = "number"\nsensor = "t"\nunits = {t = "Cel"}\n'
    path.write_text(text(tmp_path) + rule)

    async def test(relay: Relay) -> None:
        offer(b"21.5", 1)
        await until(lambda: relay.status()["confirmed"] == 1)
        ((envelope, _),) = FakeUplink.made[0].lanes["telemetry"].sent
        reading = json.loads(gzip.decompress(envelope.body))
        assert (reading["sensor"], reading["unit"], reading["value"]) == ("t", "Cel", 21.5)
        path.write_text(text(tmp_path))
        await relay.reload(path)
        offer(b"21.5", 2)
        await until(lambda: relay.status()["malformed"] == 1)

    run(path, test)
