"""The node and the gateway on ARM machines (emulated where this host isn't one), a RabbitMQ on a machine of the host's.

Nothing is replaced: the charms are packed for arm64, their workloads run as arm64 code, and the readings that the
node sends are counted where the gateway has delivered them.
"""

import contextlib
import time
from pathlib import Path

import jubilant
import pika
import pytest
from own_tabletop import Juju, do

from iot_telemetry import batch
from iot_telemetry.accounting import Account, NodeReport
from iot_telemetry.reading import Reading
from tabletop.version import host_architecture

ROOT = Path(__file__).resolve().parents[3]
ARM = {"gateway": "gateway/0", "sensor-node": "sensor-node/0"}
COUNT = 1000
PATIENCE = 1200.0
"""Seconds; an emulated machine has a tenth of the host's speed, and the host may be busy."""
SLOWLY = {"timeout": 300}
QUEUE = "iot.telemetry"

# The first test that runs has the base image built, if it isn't in the cache, and three machines set up.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def juju(own_state: Path) -> jubilant.Juju:
    """A model on machines of both architectures, every unit active."""
    do("bootstrap", "--arch", "arm64")
    client = Juju(wait_timeout=PATIENCE)
    client.add_model("arm")
    client.deploy(ROOT / "charms/rabbitmq")
    for charm in ARM:
        client.deploy(ROOT / "charms" / charm, constraints={"arch": "arm64"})
    client.integrate("gateway:amqp", "rabbitmq")
    client.integrate("sensor-node:mqtt", "gateway:mqtt")
    try:
        client.wait(jubilant.all_active, error=jubilant.any_error, delay=2.0, successes=1)
    except (TimeoutError, jubilant.WaitError):
        print(client.cli("status"), client.debug_log(limit=200), sep="\n")
        raise
    return client


def test_the_machines_are_what_was_asked_for(juju):
    status = juju.status()
    for application, expected in {**dict.fromkeys(ARM, "arm64"), "rabbitmq": host_architecture()}.items():
        (unit,) = status.apps[application].units.values()
        assert f"arch={expected}" in status.machines[unit.machine].hardware.split()
    for unit in ARM.values():
        assert juju.ssh(unit, "uname", "-m").strip() == "aarch64"
        assert juju.ssh(unit, "dpkg", "--print-architecture").strip() == "arm64"
        # Code of the charm's own, in the charm's own environment.
        code = "import orjson, platform, pydantic_core; print(platform.machine(), orjson.__file__)"
        charm = f"/var/lib/juju/agents/unit-{unit.replace('/', '-')}/charm"
        machine, library = juju.ssh(unit, f"{charm}/venv/bin/python", "-c", f"'{code}'").split()
        assert machine == "aarch64"
        assert library.endswith(("aarch64-linux-gnu.so", "orjson/__init__.py"))


def test_names_resolve_between_the_architectures(juju):
    addresses = {name: unit.public_address for name, unit in juju.status().apps["rabbitmq"].units.items()}
    machine = juju.status().machines[juju.status().apps["rabbitmq"].units["rabbitmq/0"].machine].hostname
    assert juju.ssh("gateway/0", "getent", "hosts", machine).split()[0] == addresses["rabbitmq/0"]


@pytest.mark.parametrize(("unit", "params"), [("gateway/0", SLOWLY), ("sensor-node/0", {}), ("rabbitmq/0", {})])
def test_smoke_test(juju, unit, params):
    assert juju.run(unit, "smoke-test", params, wait=PATIENCE).results["result"] == "passed"


def test_every_reading_arrives(juju):
    sent = juju.run("sensor-node/0", "generate-data", {"count": COUNT, **SLOWLY}, wait=PATIENCE).results
    assert int(sent["sent"]) == COUNT
    assert delivered(juju, sent["node"], COUNT) == NodeReport(COUNT, 0, 0)


def test_a_machine_is_booted_again(juju):
    """Its systemd goes down and comes up, and the gateway's services with it."""
    juju.ssh("gateway/0", "touch", "/run/before")
    with contextlib.suppress(jubilant.CLIError):  # the command ends with the machine
        juju.ssh("gateway/0", "systemctl", "reboot")
    deadline = time.monotonic() + PATIENCE
    while "before" in listing(juju):
        assert time.monotonic() < deadline
        time.sleep(1)
    juju.wait(jubilant.all_active, delay=2.0, successes=1)
    assert juju.run("gateway/0", "smoke-test", SLOWLY, wait=PATIENCE).results["result"] == "passed"


def listing(juju: jubilant.Juju) -> str:
    try:
        return juju.ssh("gateway/0", "ls", "/run")
    except jubilant.CLIError:
        return "before: the machine is down"


def delivered(juju: jubilant.Juju, node: str, wanted: int) -> NodeReport:
    """Take what is in RabbitMQ's queue until all of a node's readings are there; return what was counted of them."""
    found = juju.run("rabbitmq/0", "get-admin-credentials").results
    (vhost,) = juju.run("rabbitmq/0", "smoke-test").results["vhosts"].split(", ")
    address = juju.status().apps["rabbitmq"].units["rabbitmq/0"].public_address
    login = pika.PlainCredentials(found["username"], found["password"])
    account, none = Account(), NodeReport(0, 0, 0)
    deadline = time.monotonic() + PATIENCE
    with pika.BlockingConnection(pika.ConnectionParameters(address, 5672, vhost, login)) as connection:
        channel = connection.channel()
        while account.report().get(node, none).distinct < wanted and time.monotonic() < deadline:
            method, properties, body = channel.basic_get(QUEUE, auto_ack=True)
            if method is None:
                connection.sleep(0.5)
                continue
            for line in batch.decode(body, "gzip" if properties.content_encoding == "gzip" else "identity"):
                account.add(Reading.from_line(line))
    return account.report().get(node, none)
