"""Commands by actions, with the relay's own desk behind them."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import ops.testing
import pytest
from fakes import BROKER_SECRET, Machine, amqp, relay_status
from ops.testing import ActionFailed, Context, State

import relay
from charm import GatewayCharm
from iot_gateway.command_requests import CommandRequests
from iot_gateway.desk import Book, Desk
from iot_gateway.errors import GatewayError, NotRunningError, RequestRefusedError
from iot_gateway.nodes import Node, Nodes

Gateway = Context[GatewayCharm]


class Chain:
    def tell(self, *_: Any) -> None:
        pass


@pytest.fixture
def ready(context: Gateway, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """A unit whose relay runs, and knows one node; each request finds the book as the former left it."""

    async def answer(what: str, fields: dict[str, Any]) -> Any:
        desk = Desk(Book(tmp_path / "commands.db"), Chain())
        requests = CommandRequests(desk, Nodes({"kitchen": Node("kitchen")}), None)  # type: ignore[arg-type]
        async with desk.closing():
            return await requests.handlers()[what](fields)

    def ask(what: str, **fields: Any) -> Any:
        if machine.status is None:
            raise NotRunningError("no relay answers at /run/iot-gateway/status-control.sock")
        try:
            return asyncio.run(answer(what, json.loads(json.dumps(fields))))
        except GatewayError as error:
            raise RequestRefusedError(str(error)) from error

    monkeypatch.setattr(relay, "ask", ask)
    # A parameter that may be of several types is JSON Schema, and nothing that Scenario's own checks know.
    monkeypatch.setenv("SCENARIO_SKIP_CONSISTENCY_CHECKS", "1")
    relation = amqp()
    first = State(relations={relation}, secrets={BROKER_SECRET}, leader=True)
    return context.run(context.on.relation_changed(relation), first)


def act(context: Gateway, before: State, action: str, **params: Any) -> dict[str, Any]:
    context.run(context.on.action(action, params=params), before)
    assert context.action_results is not None
    return dict(context.action_results)


def test_a_command_is_given_listed_and_cancelled(context: Gateway, ready: State):
    shown = act(context, ready, "send-command", node="kitchen", target="light", value=60, ttl=60, id="one")
    assert (shown["id"], shown["value"], shown["state"], shown["reason"]) == ("one", "60.0", "queued", "")
    assert shown["expires"].endswith("Z")
    again = act(context, ready, "send-command", node="kitchen", target="light", value=60, ttl=60, id="one")
    assert json.loads(again["all"])["origin"] == "action"
    new = act(context, ready, "send-command", node="kitchen", target="shutter", value="up", ttl=3600, id="")
    assert len(new["id"]) == 36
    listed = act(context, ready, "list-commands", node="", state="", limit=100)
    assert listed["commands"] == 2
    header, first, second = listed["table"].splitlines()
    assert header.split() == ["id", "node", "target", "value", "state", "since", "reason"]
    assert first.split()[1:5] == ["kitchen", "shutter", '"up"', "queued"]
    assert second.split()[:5] == ["one", "kitchen", "light", "60.0", "queued"]
    gone = act(context, ready, "cancel-command", id="one", reason="it rains")
    assert (gone["state"], gone["reason"]) == ("cancelled", "it rains")
    assert act(context, ready, "list-commands", node="kitchen", state="cancelled", limit=1)["commands"] == 1
    assert [step["state"] for step in json.loads(gone["all"])["steps"]] == ["queued", "cancelled"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (60, 60.0),
        ("60", 60.0),
        (True, True),
        ("on", True),
        ("off", False),
        ("up", "up"),
        ('"60"', "60"),
        (None, None),
    ],
)
def test_values_are_taken_for_what_they_are(context: Gateway, ready: State, given: Any, taken: Any):
    params = {} if given is None else {"value": given}
    shown = act(context, ready, "send-command", node="kitchen", target="light", **params)
    assert json.loads(shown["value"]) == taken
    assert type(json.loads(shown["value"])) is type(taken)


@pytest.mark.parametrize(
    ("action", "params", "reason"),
    [
        ("send-command", {"node": "attic", "target": "light"}, "node='attic': no node is called so; list-nodes shows"),
        ("send-command", {"node": "kitchen", "target": "light", "ttl": -1}, "ttl=-1: Expected `float` > 0"),
        ("send-command", {"node": "kitchen", "target": "x", "value": "y" * 5000}, "a text of at most 4096 characters"),
        ("list-commands", {"state": "gone"}, "state='gone'"),
        ("cancel-command", {"id": "none"}, "id='none': there is no such command; list-commands shows"),
    ],
)
def test_what_the_desk_refuses_fails_with_the_reason(
    context: Gateway, ready: State, action: str, params: dict[str, Any], reason: str
):
    with pytest.raises(ActionFailed, match=reason):
        act(context, ready, action, **params)


def test_without_a_relay_there_are_no_commands(context: Gateway, machine: Machine, ready: State):
    machine.status = None
    with pytest.raises(ActionFailed, match="no relay answers"):
        act(context, ready, "list-commands")


def test_the_status_tells_of_commands(context: Gateway, machine: Machine, ready: State):
    machine.status = relay_status(commands={"open": 3})
    out = context.run(context.on.update_status(), ready)
    assert out.unit_status == ops.testing.ActiveStatus("Ready (0 nodes, outbox empty, 3 commands under way)")
    uplink = {"connected": True, "blocked": False, "error": None}
    machine.status = relay_status(uplink={**uplink, "commands": {"error": "(404, NOT_FOUND)"}})
    out = context.run(context.on.update_status(), ready)
    assert out.unit_status == ops.testing.WaitingStatus(
        "Waiting for RabbitMQ (amqp) to give commands: (404, NOT_FOUND)"
    )


def test_rabbitmq_is_asked_for_the_gateway_s_own_queue(context: Gateway, machine: Machine):
    relation = amqp(**{"commands-exchange": "iot.commands", "commands-queues": "iot.commands.x.y"})
    before = State(relations={relation}, secrets={BROKER_SECRET}, config={"site": "home", "gateway_id": "main"})
    out = context.run(context.on.relation_changed(relation), before)
    assert out.get_relation(relation.id).local_unit_data["commands"] == "home.main"
    assert machine.relay_settings is not None
    assert machine.relay_settings.commands_queue == "", "RabbitMQ has not made it yet"
    answer = {**relation.remote_units_data[0], "commands-queues": "iot.commands.home.main,iot.commands.x.y"}
    made = dataclasses.replace(out.get_relation(relation.id), remote_units_data={0: answer})
    out = context.run(context.on.relation_changed(made), dataclasses.replace(out, relations={made}))
    assert machine.relay_settings.commands_queue == "iot.commands.home.main"
    # What was asked for stays while an option makes no sense.
    wrong = dataclasses.replace(out, config={"site": "no name", "gateway_id": "main"})
    out = context.run(context.on.config_changed(), wrong)
    assert out.get_relation(relation.id).local_unit_data["commands"] == "home.main"


@pytest.mark.parametrize("prefix", ["telemetry", "telemetry/commands"])
def test_commands_and_telemetry_are_apart(context: Gateway, machine: Machine, prefix: str):
    out = context.run(context.on.config_changed(), State(config={"commands_prefix": prefix}))
    assert out.unit_status.message.startswith(f"commands_prefix='{prefix}': neither topic_prefix")
    assert machine.commands_prefix is None
