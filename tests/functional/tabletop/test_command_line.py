"""The command line on real machines, driven by jubilant: two small charms from deployment to removal."""

import contextlib
import json
import os
import re
import subprocess
import termios
from pathlib import Path

import jubilant
import pytest
from own_tabletop import PROGRAM, Juju, do, tabletop

ROOT = Path(__file__).resolve().parents[3]
CHARMS = ROOT / "src/tabletop/tests/charms"
BUNDLE = f"""\
name: pair
applications:
  store:
    charm: {CHARMS}/store
    num_units: 2
    options: {{colour: blue}}
    resources: {{seed: seed.txt}}
    to: [0, new]
  front:
    charm: {CHARMS}/web
    num_units: 1
machines:
  0:
relations:
  - [store, front]
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def place(own_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("command-line")


@pytest.fixture(scope="module")
def bundle(place: Path) -> Path:
    (place / "seed.txt").write_text("corn\n")
    path = place / "bundle.yaml"
    path.write_text(BUNDLE)
    return path


@pytest.fixture(scope="module")
def juju(bundle: Path) -> jubilant.Juju:
    client = Juju()
    client.add_model("trial")
    client.deploy(bundle)
    client.wait(settled, error=jubilant.any_error)
    return client


def settled(status: jubilant.Status) -> bool:
    return jubilant.all_active(status) and jubilant.all_agents_idle(status)


def test_the_bundle_came_up(juju: jubilant.Juju):
    status = juju.status()
    store, front = status.apps["store"], status.apps["front"]
    assert (store.scale, front.scale) == (2, 1)
    assert store.version == "1.0"
    assert front.units["front/0"].workload_status.message == "Shows blue of 2"
    assert store.units["store/0"].open_ports == ["8080/tcp"]
    assert {machine.juju_status.current for machine in status.machines.values()} == {"started"}
    table = juju.cli("status", "--relations")
    assert "store:data            front:data  try-data   regular" in table
    assert store.units["store/0"].public_address in table


def test_the_same_bundle_again_changes_nothing(juju: jubilant.Juju, bundle: Path):
    before = juju.status().apps
    again = tabletop("deploy", "-m", "trial", bundle)
    assert again.returncode == 0
    assert "Nothing to do" in again.stderr
    assert juju.status().apps == before


def test_a_wrong_bundle_deploys_nothing(juju: jubilant.Juju, bundle: Path):
    wrong = bundle.with_name("wrong.yaml")
    wrong.write_text(BUNDLE.replace("colour: blue", "colour: 3").replace("[store, front]", "[store, store]"))
    before = juju.status().apps
    refused = tabletop("deploy", "-m", "trial", wrong)
    assert refused.returncode == 1
    assert f"{wrong}:6: option 'colour' of charm 'store': expected string, got 3" in refused.stderr
    assert f"{wrong}:15: " in refused.stderr
    assert juju.status().apps == before


def test_config_reaches_the_other_side(juju: jubilant.Juju):
    juju.config("store", {"colour": "red"})
    juju.wait(lambda status: status.apps["front"].units["front/0"].workload_status.message == "Shows red of 2")
    juju.config("store", reset="colour")
    assert juju.config("store")["colour"] == "green"
    with pytest.raises(jubilant.CLIError) as error:
        juju.config("store", {"size": "many"})
    assert "many" in error.value.stderr


def test_actions(juju: jubilant.Juju):
    task = juju.run("store/0", "smoke-test", {"lines": 3})
    assert task.results == {"seed": "corn", "size": "3"}
    assert [line.partition(" ")[2] for line in task.log] == ["line 0", "line 1", "line 2"]
    with pytest.raises(jubilant.TaskError) as error:
        juju.run("store/leader", "smoke-test", {"fail": "because"})
    assert error.value.task.message == "because"
    assert error.value.task.results == {"half": "done"}
    with pytest.raises(ValueError, match="nope"):
        juju.run("store/0", "nope")
    by_hand = tabletop("run", "-m", "trial", "store/1", "smoke-test", "lines=1")
    assert by_hand.returncode == 0
    assert "line 0" in by_hand.stderr
    assert "seed: corn" in by_hand.stdout


def test_commands_on_units_and_machines(juju: jubilant.Juju):
    assert juju.exec("echo $JUJU_UNIT_NAME $(config-get size)", unit="store/0").stdout == "store/0 3\n"
    assert juju.exec("hostname", machine=0).stdout == "trial-0\n"
    with pytest.raises(jubilant.TaskError) as error:
        juju.exec("exit 3", unit="store/0")
    assert error.value.task.return_code == 3
    with pytest.raises(TimeoutError):
        juju.exec("sleep 60", unit="store/0", wait=1)
    assert juju.ssh("store/0", "hostname; pwd") == "trial-0\n/root\n"
    piped = subprocess.run(
        [PROGRAM, "ssh", "-m", "trial", "store/0", "wc", "-c"],
        input="12345",
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout == "5\n"


def test_a_shell_on_a_terminal(juju: jubilant.Juju):
    master, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (33, 101))
    shell = subprocess.Popen(
        [PROGRAM, "ssh", "-m", "trial", "store/0"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.write(master, b"tty; stty size; hostname; exit 7\n")
    said = b""
    # The end of a terminal reads as an error.
    with contextlib.suppress(OSError):
        while part := os.read(master, 4096):
            said += part
    os.close(master)
    assert shell.wait(60) == 7
    # The shell brackets what is typed with sequences of the terminal.
    lines = re.sub(r"\x1b\[\?2004[hl]", "", said.decode()).replace("\r", "").splitlines()
    assert any(line.startswith("/dev/pts/") for line in lines), lines
    assert "33 101" in lines
    assert "trial-0" in lines


def test_files_to_and_from_machines(juju: jubilant.Juju, place: Path):
    folder = place / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").write_bytes(bytes(range(256)) * 4096)
    juju.scp(folder, "store/1:/srv", scp_options=["-r"])
    juju.scp("store/1:/srv/folder/deep/file", place / "back")
    assert (place / "back").read_bytes() == (folder / "deep/file").read_bytes()
    assert juju.ssh("store/1", "stat -c %U /srv/folder/deep/file") == "root\n"
    assert tabletop("scp", "-m", "trial", "-r", "store/1:/srv/folder", "store/0:/srv/copy").returncode == 0
    assert tabletop("scp", "-m", "trial", "-r", "store/0:/srv/copy", place / "copy").returncode == 0
    assert (place / "copy/deep/file").read_bytes() == (folder / "deep/file").read_bytes()


def test_log(juju: jubilant.Juju):
    lines = juju.debug_log(limit=5).splitlines()
    assert len(lines) == 5
    only = tabletop("debug-log", "-m", "trial", "--replay", "--no-tail", "--include", "front/0").stdout
    assert only
    assert {line.partition(":")[0] for line in only.splitlines()} == {"unit-front-0"}


def test_what_status_says_of_machines(juju: jubilant.Juju):
    status = juju.status()
    machine = status.machines["0"]
    assert juju.exec(". /etc/os-release; echo $ID $VERSION_ID", machine=0).stdout.split() == [
        machine.base.name,
        machine.base.channel.partition("/")[0],
    ]
    assert f"arch={juju.version().arch} " in machine.hardware
    assert machine.ip_addresses[0] in juju.exec("hostname -I", machine=0).stdout.split()
    assert machine.hostname == "trial-0"


def test_a_machine_waits_for_a_unit(juju: jubilant.Juju):
    before = set(juju.status().machines)
    juju.add_machine(constraints={"mem": "512M", "cores": 1})
    (number,) = set(juju.status().machines) - before
    status = juju.wait(lambda status: status.machines[number].juju_status.current == "started")
    assert status.machines[number].constraints.split()[-2:] == ["cores=1", "mem=512M"]
    assert " cores=1 mem=512M" in status.machines[number].hardware
    juju.add_unit("front", to=number)
    juju.wait(lambda status: len(status.apps["front"].units) == 2 and settled(status))
    (unit,) = (name for name, unit in juju.status().apps["front"].units.items() if unit.machine == number)
    juju.remove_unit(unit)
    juju.wait(lambda status: set(status.machines) == before and settled(status))


def test_units_come_and_go(juju: jubilant.Juju):
    juju.add_unit("front")
    status = juju.wait(lambda status: len(status.apps["front"].units) == 2 and settled(status))
    juju.remove_unit(next(name for name in status.apps["front"].units if name != "front/0"))
    juju.wait(lambda status: list(status.apps["front"].units) == ["front/0"] and settled(status))


def test_refresh(juju: jubilant.Juju, place: Path):
    other = place / "other.txt"
    other.write_text("wheat\n")
    juju.refresh("store", path=CHARMS / "store", resources={"seed": str(other)})
    juju.wait(lambda status: status.apps["store"].charm_rev == 1 and settled(status))
    assert juju.run("store/0", "smoke-test").results["seed"] == "wheat"


def test_a_killed_daemon_is_started_by_the_next_command(juju: jubilant.Juju):
    pid = int(next(line for line in tabletop("daemon").stdout.splitlines() if "pid" in line).partition(":")[2])
    machines = {number: machine.hostname for number, machine in juju.status().machines.items()}
    subprocess.run(["kill", "-9", str(pid)], check=True)
    status = juju.wait(settled)
    assert {number: machine.hostname for number, machine in status.machines.items()} == machines
    assert juju.ssh("store/0", "hostname") == "trial-0\n"


def test_removal(juju: jubilant.Juju):
    juju.remove_relation("front", "store")
    juju.wait(lambda status: status.apps["front"].is_blocked)
    juju.remove_application("front")
    juju.wait(lambda status: "front" not in status.apps)


def test_models_side_by_side(juju: jubilant.Juju):
    second = Juju()
    second.add_model("second")
    assert second.status().apps == {}
    models = json.loads(juju.cli("models", "--format", "json", include_model=False))["models"]
    assert [model["short-name"] for model in models] == ["second", "trial"]
    second.destroy_model("second")
    with pytest.raises(jubilant.CLIError, match="second"):
        Juju(model="second").status()


def test_destroy_says_what_it_removes(juju: jubilant.Juju, own_state: Path):
    assert "removed machine trial-0" in do("destroy", "--no-prompt")
    assert not own_state.exists()
    assert "there was nothing to remove" in do("destroy", "--no-prompt")
