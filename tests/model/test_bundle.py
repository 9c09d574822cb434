"""From a sensor to a notebook: what was sent is in HDFS and is what the notebook counts."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import chain
import jubilant
import pytest

pytestmark = pytest.mark.timeout(1800)

READINGS = 100_000


@pytest.fixture(scope="module")
def sent(juju: jubilant.Juju) -> chain.Sent:
    return chain.generate(chain.run_with(juju), count=READINGS)


def test_every_application_of_the_design_is_active(juju: jubilant.Juju):
    status = juju.status()
    assert set(status.apps) == set(chain.APPLICATIONS)
    assert jubilant.all_active(status)
    assert jubilant.all_agents_idle(status) or not jubilant.any_error(status)


def test_each_unit_has_a_machine_of_its_own(juju: jubilant.Juju):
    units = [unit for app in juju.status().apps.values() for unit in app.units.values()]
    assert len({unit.machine for unit in units}) == len(units) == len(chain.APPLICATIONS)
    assert len({unit.public_address for unit in units}) == len(units)


@pytest.mark.parametrize("app", chain.APPLICATIONS)
def test_smoke_test(app: str, run: chain.RunAction):
    run(f"{app}/0", "smoke-test", {})


def test_all_that_was_sent_is_in_hdfs(run: chain.RunAction, sent: chain.Sent):
    assert sent.readings == READINGS
    found = chain.verify(run, sent)
    assert (found.sent, found.in_hdfs, found.lost, found.duplicated) == (READINGS, READINGS, 0, 0)
    files = [line for line in found.listing.splitlines() if "/FlumeData." in line]
    assert files
    for line in files:
        assert re.fullmatch(
            r"-rw-r--r--\s+1 flume supergroup\s+\d+ \d{4}-\d\d-\d\d \d\d:\d\d "
            r"/user/flume/flume-rabbitmq/\d{4}-\d\d-\d\d/FlumeData\.\d+\.gz",
            line,
        )


def test_the_notebook_counts_all_that_was_sent(juju: jubilant.Juju, run: chain.RunAction, sent: chain.Sent, tmp_path):
    chain.verify(run, sent)
    note = chain.run_notebook(run, sent)
    assert note.count == READINGS
    page = tmp_path / "notebook.html"
    juju.scp(f"zeppelin/0:{note.html}", page)
    text = page.read_text()
    assert "Zeppelin Flume/HDFS Tutorial" in text
    assert "FlumeData." in text
    assert text.count("FINISHED") >= 4
    assert "<table" in text


def kill_in_mid_run(juju: jubilant.Juju, run: chain.RunAction, unit: str, service: str) -> chain.Ingested:
    """Send readings at a steady rate, kill -9 a service's processes in the middle, and count."""
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(chain.generate, run, count=READINGS, rate=10_000, seed=2)
        time.sleep(5)
        juju.exec(f"systemctl kill --signal=KILL {service}", unit=unit)
        sent = sending.result()
    return chain.verify(run, sent, timeout_s=300)


@pytest.mark.parametrize(
    ("unit", "service"),
    [
        ("gateway/0", "iot-gateway"),
        ("flume-rabbitmq/0", "flume-rabbitmq-0"),
        ("flume-hdfs/0", "flume-hdfs-0"),
        ("rabbitmq/0", "rabbitmq-server"),
    ],
)
def test_nothing_is_lost_when_a_part_is_killed(juju: jubilant.Juju, run: chain.RunAction, unit: str, service: str):
    found = kill_in_mid_run(juju, run, unit, service)
    print(f"killed {service}: {found.sent} sent, {found.in_hdfs} in HDFS, {found.lost} lost, {found.duplicated} twice")
    assert (found.in_hdfs, found.lost) == (READINGS, 0)


def test_refusals_name_the_value_and_break_nothing(juju: jubilant.Juju, run: chain.RunAction):
    with pytest.raises(jubilant.CLIError) as refused:
        juju.run("sensor-node/0", "generate-data", {"count": -1})
    assert "count" in refused.value.stderr
    assert "-1" in refused.value.stderr

    with pytest.raises(jubilant.CLIError) as refused:
        juju.config("flume-hdfs", {"roll_interval": "abc"})
    assert "roll_interval" in refused.value.stderr
    assert "abc" in refused.value.stderr

    with pytest.raises(jubilant.CLIError) as refused:
        juju.integrate("sensor-node:mqtt", "rabbitmq:amqp")
    assert "mqtt" in refused.value.stderr

    assert jubilant.all_active(juju.status())


def test_a_value_out_of_range_blocks_and_the_last_good_one_keeps_running(juju: jubilant.Juju):
    juju.config("flume-hdfs", {"roll_interval": -5})
    blocked = juju.wait(jubilant.any_blocked, timeout=60)
    message = blocked.apps["flume-hdfs"].units["flume-hdfs/0"].workload_status.message
    assert "roll_interval" in message
    assert "-5" in message
    juju.exec("systemctl is-active flume-hdfs-0", unit="flume-hdfs/0")
    juju.config("flume-hdfs", {"roll_interval": 15})
    juju.wait(jubilant.all_active, timeout=60)
