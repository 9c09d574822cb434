"""The promises of tests/model on a real controller, through python-libjuju: the same steps, another client."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chain
import promises
import pytest
import yaml
from chain import Result, Step
from juju.model import Model
from juju.unit import Unit
from pytest_operator.plugin import OpsTest


@pytest.fixture
def model(ops_test: OpsTest) -> Model:
    """The model that pytest-operator made or, with `--model`, was given."""
    assert ops_test.model
    return ops_test.model


@pytest.fixture(scope="module")
def sent() -> dict[str, chain.Sent]:
    """What was sent by an earlier test of this module."""
    return {}


def unit_of(model: Model, name: str) -> Unit:
    """Find a unit by its name."""
    unit = model.units[name]
    assert unit
    return unit


async def run(model: Model, step: Step[Result]) -> Result:
    """Run a step through libjuju."""
    action = await unit_of(model, step.unit).run_action(step.action, **step.params)
    await asyncio.wait_for(action.wait(), chain.WAIT_S)
    assert action.status == "completed", f"{step.action} on {step.unit}: {action.status}, {action.safe_data}"
    return step.read({key: str(value) for key, value in action.results.items()})


async def execute(model: Model, unit: str, command: str) -> str:
    """Run a command on a unit's machine and return what it printed."""
    action = await unit_of(model, unit).run(command, timeout=60, block=True)
    assert int(action.results["return-code"]) == 0, action.results
    return action.results.get("stdout", "")


def with_absolute_paths(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bundle for libjuju, which looks for resources from where it runs and takes missing ones as empty."""

    def absolute(path: str) -> str:
        return str((chain.BUNDLE.parent / path).resolve(strict=True))

    applications: dict[str, Any] = {}
    for name, application in bundle["applications"].items():
        resources = {key: absolute(path) for key, path in application.get("resources", {}).items()}
        applications[name] = {**application, "charm": absolute(application["charm"]), "resources": resources}
    return {**bundle, "applications": applications}


@pytest.mark.abort_on_fail
@pytest.mark.skip_if_deployed
async def test_the_bundle_deploys(model: Model, tmp_path: Path):
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text(yaml.safe_dump(with_absolute_paths(yaml.safe_load(chain.BUNDLE.read_text()))))
    await model.deploy(str(bundle))
    await model.wait_for_idle(apps=list(chain.APPLICATIONS), status="active", timeout=3600)
    promises.deployed(model.applications)


@pytest.mark.parametrize("app", chain.APPLICATIONS)
async def test_smoke_test(model: Model, app: str):
    await run(model, chain.smoke_test(app))


async def test_a_command_is_done_and_hdfs_tells_of_it(model: Model):
    sensor_node = model.applications["sensor-node"]
    await sensor_node.set_config(chain.ACTUATORS)
    await model.wait_for_idle(apps=["sensor-node"], status="active", timeout=60)
    try:
        command = await run(model, chain.send_command("light", 60))
        async with asyncio.timeout(chain.COMMAND_S):
            while command.states[-1] != "applied":
                await asyncio.sleep(1)
                command = await run(model, chain.show_command(command.id))
            promises.done(command)
            lines = ""
            while "applied" not in promises.told_states(lines):
                await asyncio.sleep(2)
                lines = await execute(model, "hadoop-namenode/0", command.lines)
        promises.told(command, lines)
    finally:
        await sensor_node.reset_config(list(chain.ACTUATORS))


@pytest.mark.abort_on_fail
async def test_all_that_was_sent_is_in_hdfs(model: Model, sent: dict[str, chain.Sent]):
    sent["run"] = await run(model, chain.generate(count=chain.READINGS))
    promises.sent(sent["run"], chain.READINGS)
    promises.exactly_once(await run(model, chain.verify(sent["run"])), chain.READINGS)


async def test_the_notebook_counts_all_that_was_sent(model: Model, sent: dict[str, chain.Sent]):
    note = await run(model, chain.run_notebook(sent["run"]))
    promises.counted(note, chain.READINGS)
    promises.rendered(await execute(model, "zeppelin/0", f"cat {note.html}"))


@pytest.mark.parametrize("part", chain.PARTS, ids=str)
async def test_nothing_is_lost_when_a_part_is_killed(model: Model, part: chain.Service):
    sending = asyncio.create_task(run(model, chain.generate_steadily()))
    await asyncio.sleep(chain.KILL_AFTER_S)
    await execute(model, part.unit, part.kill)
    promises.nothing_lost(await run(model, chain.verify(await sending, timeout_s=300)), chain.READINGS)
