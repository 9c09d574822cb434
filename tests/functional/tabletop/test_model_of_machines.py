"""A model on real machines through what befalls it: storage, subordinates, constraints, reboots, cut networks."""

import os
import stat
import subprocess
import zipfile
from pathlib import Path

import jubilant
import pytest
from own_tabletop import Juju, tabletop

DISPATCH = """\
#!/bin/sh
set -e
echo "$JUJU_UNIT_NAME $JUJU_HOOK_NAME" >>/var/log/hooks
case $JUJU_HOOK_NAME in
data-storage-attached) mountpoint -q "$(storage-get location)" && echo kept >>"$(storage-get location)/notes" ;;
install)
    [ "${JUJU_UNIT_NAME%/*}" = vault ] || exit 0
    printf '[Service]\\nExecStart=/bin/sh -c "cat /srv/data/notes >/srv/served; exec sleep inf"\\n[Install]\\n' \\
        >/etc/systemd/system/reader.service
    printf 'WantedBy=multi-user.target\\n' >>/etc/systemd/system/reader.service
    systemctl enable --quiet --now reader ;;
start) status-set active ;;
esac
"""
VAULT = """\
name: vault
summary: Keeps what it is given.
storage:
  data: {type: filesystem, location: /srv/data}
  more: {type: filesystem, location: /srv/more, read-only: true, multiple: {range: 0-2}}
"""
MINION = """\
name: minion
summary: Accompanies others.
subordinate: true
requires:
  host: {interface: juju-info, scope: container}
"""

pytestmark = pytest.mark.timeout(600)


def pack(folder: Path, name: str, metadata: str) -> Path:
    with zipfile.ZipFile(folder / f"{name}.charm", "w") as archive:
        archive.writestr("metadata.yaml", metadata)
        info = zipfile.ZipInfo("dispatch")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(info, DISPATCH)
    return folder / f"{name}.charm"


def settled(status: jubilant.Status) -> bool:
    return jubilant.all_active(status) and jubilant.all_agents_idle(status)


def hooks(juju: jubilant.Juju, target: str) -> list[str]:
    return juju.ssh(target, "cat /var/log/hooks").splitlines()


@pytest.fixture(scope="module")
def charms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("charms")
    pack(folder, "vault", VAULT)
    pack(folder, "minion", MINION)
    return folder


@pytest.fixture(scope="module")
def juju(own_state: Path, charms: Path) -> jubilant.Juju:
    client = Juju()
    client.add_model("trial")
    client.deploy(charms / "vault.charm", storage={"more": "1,2G"}, constraints={"mem": "400M", "cores": "1"})
    client.deploy(charms / "minion.charm")
    client.integrate("minion", "vault:juju-info")
    client.wait(lambda status: bool(status.get_units("minion")) and settled(status), error=jubilant.any_error)
    return client


def test_it_came_up_as_asked(juju: jubilant.Juju) -> None:
    status = juju.status()
    assert status.apps["minion"].subordinate_to == ["vault"]
    assert list(status.apps["vault"].units["vault/0"].subordinates) == ["minion/0"]
    machine = status.machines["0"]
    assert "mem=400M" in machine.hardware
    assert "cores=1" in machine.hardware
    assert {"cores=1", "mem=400M"} <= set(machine.constraints.split())
    assert status.storage.storage["data/0"].status.current == "attached"
    assert {one.storage: one.size for one in status.storage.filesystems.values()} == {"data/0": 1024, "more/1": 2048}
    assert "data/0" in juju.cli("storage")
    told = hooks(juju, "vault/0")
    assert told.index("vault/0 data-storage-attached") < told.index("vault/0 install")
    assert told.index("vault/0 install") < told.index("minion/0 install")
    assert "minion/0 host-relation-joined" in told
    assert juju.ssh("vault/0", "cat /srv/served") == "kept\n"
    assert juju.exec("echo $JUJU_PRINCIPAL_UNIT", unit="minion/0").stdout == "vault/0\n"
    with pytest.raises(jubilant.CLIError):
        juju.ssh("vault/0", "touch /srv/more/more/1/new")


@pytest.mark.parametrize("how", ["reboot", "kill", "nspawn", "juju-reboot"])
def test_a_machine_comes_back_with_all_that_it_had(juju: jubilant.Juju, how: str) -> None:
    before = juju.status().machines["0"]
    count = hooks(juju, "0").count("vault/0 start")
    juju.ssh("0", "echo disk >/root/written; rm -f /srv/served; echo again >>/srv/data/notes")
    notes = juju.ssh("0", "cat /srv/data/notes")
    if how == "reboot":
        tabletop("ssh", "-m", "trial", "0", "systemctl", "reboot")
    elif how == "kill":
        juju.cli("kill-machine", "vault/0")
    elif how == "nspawn":
        listed = subprocess.run(["pgrep", "-f", "systemd-nspawn.*--machine=trial-0 "], capture_output=True, text=True)
        for pid in listed.stdout.split():
            if os.environ["TABLETOP_STATE"].encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), 9)
    else:
        juju.exec("juju-reboot", unit="vault/0")

    def started(status: jubilant.Status) -> bool:
        if status.machines["0"].juju_status.current != "started" or not settled(status):
            return False
        read = tabletop("ssh", "-m", "trial", "0", "cat", "/var/log/hooks").stdout.splitlines()
        return read.count("vault/0 start") == read.count("minion/0 start") == count + 1

    status = juju.wait(started, error=jubilant.any_error)
    assert status.machines["0"].dns_name == before.dns_name
    assert juju.ssh("0", "cat /root/written") == "disk\n"
    assert juju.ssh("0", "mountpoint -q /srv/data && cat /srv/served") == notes, "the service came up after its storage"


def test_storage_comes_and_goes_on_a_machine_that_runs(juju: jubilant.Juju) -> None:
    juju.cli("add-storage", "vault/0", "more")
    juju.wait(lambda status: "more/2" in status.storage.storage and settled(status))
    assert juju.ssh("0", "mountpoint -q /srv/more/more/2 && echo yes") == "yes\n"
    juju.cli("detach-storage", "more/2")
    juju.wait(lambda status: status.storage.storage["more/2"].status.current == "detached" and settled(status))
    assert juju.ssh("0", "mountpoint -q /srv/more/more/2 || echo no") == "no\n"
    juju.cli("remove-storage", "more/2")
    assert "more/2" not in juju.status().storage.storage


def test_cuts_are_shown_and_survive_the_daemon(juju: jubilant.Juju) -> None:
    juju.add_unit("vault")
    juju.wait(settled)
    address = juju.status().machines["1"].dns_name
    juju.cli("cut-network", "vault/0", "vault/1")
    subprocess.run(["kill", "-9", _daemon()], check=True)
    assert juju.status().machines["1"].machine_status.message == "network cut off from machine 0"
    assert "network cut off from machine 1" in juju.cli("machines")
    assert tabletop("ssh", "-m", "trial", "0", "ping", "-c1", "-W1", address).returncode == 1
    assert tabletop("heal-network", "-m", "trial").stderr == "healed one cut\n"
    assert tabletop("ssh", "-m", "trial", "0", "ping", "-c1", "-W5", address).returncode == 0


def test_refusals(juju: jubilant.Juju, charms: Path) -> None:
    for words, said in (
        (("deploy", charms / "vault.charm", "other", "--to", "9"), "machine 9 not found; this model has 0, 1"),
        (("deploy", charms / "vault.charm", "other", "--storage", "more=3"), "at most 2 instances supported"),
        (("deploy", charms / "vault.charm", "other", "--to", "0"), "are in each other's way"),
        (("deploy", charms / "minion.charm", "other", "--to", "0"), "with subordinate application"),
        (("add-unit", "minion"), "application is a subordinate"),
        (("remove-unit", "minion/0", "--no-prompt"), "is a subordinate, to remove use remove-relation"),
        (("start-machine", "0"), "machine 0 is not off"),
        (("cut-network", "vault/0", "minion/0"), "are on the same machine, 0"),
    ):
        refused = tabletop(*words, "-m", "trial")
        assert refused.returncode != 0, words
        assert said in refused.stderr
    assert "other" not in juju.status().apps


def test_a_unit_goes_and_its_storage_stays_for_the_next(juju: jubilant.Juju) -> None:
    juju.ssh("vault/0", "echo treasure >/srv/data/treasure")
    juju.remove_unit("vault/0")
    status = juju.wait(lambda status: set(status.apps["vault"].units) == {"vault/1"} and settled(status))
    assert list(status.get_units("minion")) == ["minion/1"]
    assert status.storage.storage["data/0"].status.current == "detached"
    juju.add_unit("vault", attach_storage="data/0")
    juju.wait(lambda status: "vault/2" in status.apps["vault"].units and settled(status))
    assert juju.ssh("vault/2", "cat /srv/data/treasure") == "treasure\n"
    juju.remove_unit("vault/2", destroy_storage=True)
    juju.wait(lambda status: set(status.apps["vault"].units) == {"vault/1"} and settled(status))
    assert "data/0" not in juju.status().storage.storage


def _daemon() -> str:
    return next(line for line in tabletop("daemon").stdout.splitlines() if "pid" in line).partition(":")[2].strip()
