"""From a sensor to a notebook: what was sent is in HDFS and is what the notebook counts."""

import dataclasses
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import amqp_client
import chain
import jubilant
import pika.exceptions
import promises
import pytest
import through_jubilant
from chain import Run

pytestmark = pytest.mark.timeout(1800)

AMQP_READINGS = 1000
STALE_SECONDS = 420
"""How long a status may be out of date: Juju's interval of update-status, and time for the hooks."""


@pytest.fixture(scope="module")
def sent(juju: jubilant.Juju) -> chain.Sent:
    return through_jubilant.run_with(juju)(chain.generate(count=chain.READINGS))


@pytest.mark.juju_setup
def test_the_bundle_deploys(juju: jubilant.Juju):
    juju.deploy(chain.BUNDLE)
    through_jubilant.wait_until_active(juju)


def test_every_application_of_the_design_is_active(juju: jubilant.Juju):
    promises.deployed(juju.status().apps)
    # An agent may be at an update-status; that it comes to rest is what is promised.
    juju.wait(lambda status: jubilant.all_active(status) and jubilant.all_agents_idle(status), error=jubilant.any_error)


def test_each_unit_has_a_machine_of_its_own(juju: jubilant.Juju):
    units = [unit for app in juju.status().apps.values() for unit in app.units.values()]
    assert len({unit.machine for unit in units}) == len(units) == len(chain.APPLICATIONS)
    assert len({unit.public_address for unit in units}) == len(units)


@pytest.mark.parametrize("app", chain.APPLICATIONS)
def test_smoke_test(app: str, run: Run):
    run(chain.smoke_test(app))


@pytest.fixture
def actuator(juju: jubilant.Juju) -> Generator[None]:
    """Gives the sensor node an actuator for a while."""
    juju.config("sensor-node", chain.ACTUATORS)
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=60)
    yield
    juju.config("sensor-node", reset=list(chain.ACTUATORS))
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=60)


@pytest.mark.usefixtures("actuator")
def test_a_command_is_done_and_hdfs_tells_of_it(juju: jubilant.Juju, run: Run):
    command = run(chain.send_command("light", 60))
    deadline = time.monotonic() + chain.COMMAND_S
    while command.states[-1] != "applied" and time.monotonic() < deadline:
        time.sleep(1)
        command = run(chain.show_command(command.id))
    promises.done(command)
    lines = ""
    while "applied" not in promises.told_states(lines) and time.monotonic() < deadline:
        time.sleep(2)
        lines = juju.exec(command.lines, unit="hadoop-namenode/0").stdout
    promises.told(command, lines)


def test_all_that_was_sent_is_in_hdfs(run: Run, sent: chain.Sent):
    promises.sent(sent, chain.READINGS)
    promises.exactly_once(run(chain.verify(sent)), chain.READINGS)


def test_the_notebook_counts_all_that_was_sent(juju: jubilant.Juju, run: Run, sent: chain.Sent):
    run(chain.verify(sent))
    note = run(chain.run_notebook(sent))
    promises.counted(note, chain.READINGS)
    # Only root may read the page, so it is not fetched with scp, which enters as another user where there is ssh.
    promises.rendered(juju.exec(f"cat {note.html}", unit="zeppelin/0").stdout)


@pytest.fixture
def amqp_node(juju: jubilant.Juju, run: Run) -> Generator[chain.AmqpNode]:
    """Lets a node in by AMQP, and out again."""
    juju.config("gateway", {"amqp": True, "plain_topics": "- {topic: +/level, format: number}"})
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=120)
    yield run(chain.add_amqp_node("amqp-node"))
    run(chain.remove_node("amqp-node"))
    juju.config("gateway", reset=["amqp", "plain_topics"])
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=120)


def test_what_a_node_publishes_by_amqp_is_in_hdfs_and_it_can_publish_nothing_else(
    juju: jubilant.Juju, run: Run, amqp_node: chain.AmqpNode
):
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=60)
    amqp_client.publish_readings(amqp_node, AMQP_READINGS)
    amqp_client.publish(amqp_node, b"21.5", words=".level")
    another = dataclasses.replace(amqp_node, routing_key=amqp_node.routing_key.replace("amqp-node", chain.SENSOR_NODE))
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        amqp_client.publish(another, b"21.5", words=".level")
    run_of_it = chain.Sent(amqp_node.name, AMQP_READINGS + 1, 0)
    promises.exactly_once(run(chain.verify(run_of_it)), AMQP_READINGS + 1)


def kill_in_mid_run(juju: jubilant.Juju, run: Run, part: chain.Service) -> chain.Ingested:
    """Send readings at a steady rate, kill -9 a service's processes in the middle, and count."""
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(run, chain.generate_steadily())
        time.sleep(chain.KILL_AFTER_S)
        juju.exec(part.kill, unit=part.unit)
        sent = sending.result()
    return run(chain.verify(sent, timeout_s=300))


@pytest.mark.parametrize("part", chain.PARTS, ids=str)
def test_nothing_is_lost_when_a_part_is_killed(juju: jubilant.Juju, run: Run, part: chain.Service):
    found = kill_in_mid_run(juju, run, part)
    print(f"killed {part}: {found.sent} sent, {found.in_hdfs} in HDFS, {found.lost} lost, {found.duplicated} twice")
    promises.nothing_lost(found, chain.READINGS)


def test_refusals_name_the_value_and_break_nothing(juju: jubilant.Juju):
    before = juju.config("flume-hdfs"), juju.status().apps["sensor-node"].relations
    # Juju schedules no task then, which jubilant tells so.
    with pytest.raises(ValueError, match=r"count.*-1"):
        juju.run("sensor-node/0", "generate-data", {"count": -1})

    with pytest.raises(jubilant.CLIError) as refused:
        juju.config("flume-hdfs", {"roll_interval": "abc"})
    assert "roll_interval" in refused.value.stderr
    assert "abc" in refused.value.stderr

    with pytest.raises(jubilant.CLIError) as refused:
        juju.integrate("sensor-node:mqtt", "rabbitmq:amqp")
    assert "mqtt" in refused.value.stderr

    assert (juju.config("flume-hdfs"), juju.status().apps["sensor-node"].relations) == before
    # An update-status that found a part killed by the test before says so until the next one.
    juju.model_config({"update-status-hook-interval": "1m"})
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=STALE_SECONDS)
    juju.model_config(reset="update-status-hook-interval")


def test_a_value_out_of_range_blocks_and_the_last_good_one_keeps_running(juju: jubilant.Juju):
    juju.config("flume-hdfs", {"roll_interval": -5})
    blocked = juju.wait(jubilant.any_blocked, timeout=60)
    message = blocked.apps["flume-hdfs"].units["flume-hdfs/0"].workload_status.message
    assert "roll_interval" in message
    assert "-5" in message
    juju.exec("systemctl is-active flume-hdfs-0", unit="flume-hdfs/0")
    juju.config("flume-hdfs", {"roll_interval": 15})
    juju.wait(jubilant.all_active, timeout=60)
