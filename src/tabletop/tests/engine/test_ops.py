"""Real charms, on ops: what ops asks of the hook tools, it gets."""

import json
from typing import Any

from world import World


def records(world: World, unit: str) -> list[dict[str, Any]]:
    machine = world.units()[unit]["machine"]
    folder = world.directory / "state/models/m/machines" / machine / "agents" / ("unit-" + unit.replace("/", "-"))
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_two_charms_on_ops_exchange_data_and_a_secret(world: World) -> None:
    world.controller.deploy("m", str(world.ops_charm("provider")), "db")
    world.controller.deploy("m", str(world.ops_charm("requirer")), "app")
    world.controller.integrate("m", "app:db", "db")
    units = world.settle()
    assert {unit["workload-status"]["message"] for unit in units.values()} == {"recorded"}
    seen = records(world, "app/0")
    last = seen[-1]
    assert last["hook"] == "db-relation-changed"
    assert last["seen"] == {"db/0": "5432"}
    assert last["app"]["host"] == "db/0"
    assert last["password"] == "s3cret-word"
    assert "s3cret-word" not in world.log()

    world.controller.set_config("m", "db", {"fail_on": "config-changed"})
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "error")
    assert "told to fail on config-changed" in world.log("ERROR")
    world.controller.set_config("m", "db", {"fail_on": ""})
    world.settle()
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "active")

    task = world.action("db/0", "greet", name="ops", count=2)
    assert task["results"]["nested"] == {"count": "2"}
    assert len(task["log"]) == 2
    failed = world.action("db/0", "refuse")
    assert (failed["status"], failed["message"]) == ("failed", "not today")
    crashed = world.action("db/0", "crash")
    assert crashed["status"] == "failed"
    assert "RuntimeError" in crashed["results"]["stderr"]

    world.controller.remove_relation("m", "app", "db")
    world.settle()
    assert [record["hook"] for record in records(world, "app/0")][-2:] == ["db-relation-departed", "db-relation-broken"]
