"""Machines of this host, booted for real."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tabletop.boot import Bind
from tabletop.cgroups import Hierarchies
from tabletop.errors import TabletopError
from tabletop.image import ensure_image
from tabletop.machine import Machines, NoSuchMachineError, NotRunningError
from tabletop.mounts import mounts_below
from tabletop.network import Network
from tabletop.paths import Paths
from tabletop.processes import ProcessIdentity, read_stat

pytestmark = pytest.mark.timeout(600)  # the first test may have to build the base image

Pair = tuple[str, str]


def out(machines: Machines, name: str, *argv: str, **options: str) -> str:
    return machines.run(name, argv, check=True, **options).stdout.strip()  # type: ignore[arg-type]


def links() -> set[str]:
    text = subprocess.run(["ip", "-json", "link", "show"], capture_output=True, text=True, check=True).stdout
    return {link["ifname"] for link in json.loads(text)}


def test_the_image_is_built_once(machines: Machines, paths: Paths, pair: Pair) -> None:
    said: list[str] = []
    began = time.monotonic()
    image = ensure_image(paths, progress=said.append)
    assert image.path.is_dir()
    assert said == []
    assert time.monotonic() - began < 2


def test_systemd_runs_with_nothing_failed(machines: Machines, pair: Pair) -> None:
    for name in pair:
        assert out(machines, name, "systemctl", "is-system-running") == "running"
        assert out(machines, name, "hostname") == name
        assert out(machines, name, "cat", "/proc/1/comm") == "systemd"


def test_each_has_its_own_identity(machines: Machines, pair: Pair) -> None:
    assert len({out(machines, name, "cat", "/etc/machine-id") for name in pair}) == 2
    assert {machines.get(name).uuid.replace("-", "") for name in pair} == {
        out(machines, name, "cat", "/etc/machine-id") for name in pair
    }


def test_they_reach_each_other_by_name(machines: Machines, pair: Pair) -> None:
    one, other = pair
    assert out(machines, one, "getent", "hosts", other).split() == [machines.address(other), other]
    assert out(machines, one, "hostname", "-i") == machines.address(one)
    machines.run(other, ["ping", "-c", "1", "-W", "5", one], check=True)


def test_apt_works_and_fetches_through_the_host(machines: Machines, pair: Pair) -> None:
    said = out(machines, pair[0], "apt-get", "update")
    assert "InRelease" in said
    assert "Err:" not in said


def test_a_package_is_downloaded_once(machines: Machines, paths: Paths, pair: Pair) -> None:
    for name in pair:
        said = out(machines, name, "apt-get", "install", "-y", "bc")
        assert out(machines, name, "bc", "--version").startswith("bc ")
    assert "Need to get 0 B/" in said
    # One machine's housekeeping is its own affair.
    out(machines, pair[0], "apt-get", "clean")
    assert "bc_" in out(machines, pair[1], "sh", "-c", "ls /var/cache/apt/tabletop/*/")


def test_https_is_verified_with_what_the_host_trusts(machines: Machines, pair: Pair) -> None:
    bundle = out(machines, pair[0], "cat", "/etc/ssl/certs/ca-certificates.crt")
    host = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    blocks = [block.strip() for block in host.split("-----END CERTIFICATE-----") if block.strip()]
    assert blocks
    assert all(block.partition("-----BEGIN CERTIFICATE-----")[2] in bundle for block in blocks)


class TestPrograms:
    """Running programs in a machine."""

    def test_the_environment_is_exactly_what_was_given(self, machines: Machines, pair: Pair) -> None:
        given = {"PATH": "/usr/bin:/bin", "ONE": "with spaces\nand lines", "JUJU_UNIT_NAME": "a/0"}
        seen = machines.run(pair[0], ["env", "-0"], env=given).stdout.split("\0")[:-1]
        assert sorted(seen) == sorted(f"{name}={value}" for name, value in given.items())
        given["PWD"] = "/root"
        text = machines.run(pair[0], ["env", "-0"], env=given, cwd="/root").stdout
        assert "PWD=/root" in text.split("\0")

    def test_directory_user_input_and_status(self, machines: Machines, pair: Pair) -> None:
        assert out(machines, pair[0], "pwd", cwd="/var/lib") == "/var/lib"
        assert out(machines, pair[0], "id", "-un", user="nobody") == "nobody"
        assert out(machines, pair[0], "id", "-gn", user="nobody") == "nogroup"
        assert machines.run(pair[0], ["cat"], input="taken in").stdout == "taken in"
        assert machines.run(pair[0], ["sh", "-c", "exit 7"]).returncode == 7
        assert machines.run(pair[0], ["sh", "-c", "kill -9 $$"]).returncode == 128 + signal.SIGKILL
        assert machines.run(pair[0], ["no-such-program"]).returncode == 127
        with pytest.raises(TabletopError, match="has no user nemo"):
            machines.run(pair[0], ["true"], user="nemo")
        with pytest.raises(TabletopError, match=r"pair-0: `sh -c echo it broke >&2; exit 3` failed .* 3: it broke"):
            machines.run(pair[0], ["sh", "-c", "echo it broke >&2; exit 3"], check=True)

    def test_it_is_seen_from_inside_as_one_of_the_machine(self, machines: Machines, pair: Pair) -> None:
        lines = out(machines, pair[0], "cat", "/proc/self/cgroup").splitlines()
        assert all("/.." not in line for line in lines), lines
        assert out(machines, pair[0], "sh", "-c", "readlink /proc/1/ns/pid; readlink /proc/self/ns/pid | tail -1")

    def test_a_timeout_ends_it_and_its_children(self, machines: Machines, pair: Pair) -> None:
        with pytest.raises(subprocess.TimeoutExpired):
            machines.run(pair[0], ["sh", "-c", "sleep 987 & sleep 987"], timeout=0.5)
        assert machines.run(pair[0], ["pgrep", "-f", "sleep 987"]).stdout == ""

    def test_a_service_started_by_it_outlives_it(self, machines: Machines, pair: Pair) -> None:
        out(machines, pair[0], "systemd-run", "--unit=stays", "sleep", "986")
        assert out(machines, pair[0], "systemctl", "is-active", "stays") == "active"
        out(machines, pair[0], "systemctl", "stop", "stays")

    def test_what_a_dead_starter_waited_for_is_ended(self, machines: Machines, paths: Paths, pair: Pair) -> None:
        starter = subprocess.Popen(
            [sys.executable, "-c", _WAITS, str(paths.state), str(paths.cache), pair[0]], stdout=subprocess.PIPE
        )
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        assert machines.end_abandoned(pair[0]) == 0, "its starter is alive"
        starter.kill()
        starter.wait()
        starter.stdout.close()
        assert machines.run(pair[0], ["pgrep", "-fc", "^sleep 98[45]"]).stdout.strip() == "3"
        assert machines.end_abandoned(pair[0]) == 1
        time.sleep(0.2)
        # What an earlier program had left in the background, and nobody waited for, is still there.
        assert out(machines, pair[0], "pgrep", "-fa", "^sleep 98[45]").split()[1:] == ["sleep", "984"]
        out(machines, pair[0], "pkill", "-f", "^sleep 984")

    def test_ended_ones_leave_no_groups(
        self, machines: Machines, paths: Paths, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity = ProcessIdentity.load(paths.machines / pair[0] / "process")
        leader = identity and identity.leader()
        assert leader is not None
        groups = Hierarchies.of_host().groups_of(leader)
        assert groups is not None
        parent = groups.of_machine().unified / "tabletop"
        for _ in range(5):
            machines.run(pair[0], ["true"])
        assert len([path for path in parent.iterdir() if path.is_dir()]) >= 5
        monkeypatch.setattr("tabletop.execution._GRACE", 0.0)
        monkeypatch.setattr("tabletop.execution._SWEEP_EVERY", 0.0)
        time.sleep(0.1)
        machines.run(pair[0], ["true"])
        assert len([path for path in parent.iterdir() if path.is_dir()]) <= 2

    def test_it_costs_little(self, machines: Machines, pair: Pair) -> None:
        took: list[float] = []
        for _ in range(20):
            began = time.perf_counter()
            machines.run(pair[0], ["true"])
            took.append(time.perf_counter() - began)
        print(f"one program in a machine: {sorted(took)[10] * 1000:.1f} ms (median of {len(took)})")
        assert min(took) < 0.05

    def test_a_machine_that_does_not_run_runs_nothing(self, machines: Machines) -> None:
        with pytest.raises(NoSuchMachineError, match="no machine nowhere"):
            machines.run("nowhere", ["true"])
        machines.create("idle")
        with pytest.raises(NotRunningError, match="idle does not run"):
            machines.run("idle", ["true"])
        assert machines.usage("idle") == 0
        machines.destroy("idle")


_WAITS = """
import sys
from pathlib import Path
from tabletop.machine import Machines
from tabletop.paths import Paths
machines = Machines(Paths(Path(sys.argv[1]), Path(sys.argv[2])))
machines.run(sys.argv[3], ["sh", "-c", "setsid sleep 984 >/dev/null 2>&1 </dev/null &"], check=True)
process = machines.popen(sys.argv[3], ["sh", "-c", "setsid sleep 985 & sleep 985 && true"])
import time
while "985" not in machines.run(sys.argv[3], ["pgrep", "-fa", "^sleep"]).stdout: time.sleep(0.02)
print("started", flush=True)
process.wait()
"""


def test_binds_show_the_host_s_files(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "read").mkdir()
    (tmp_path / "write:it").mkdir()
    (tmp_path / "read/file").write_text("from the host")
    binds = [Bind(tmp_path / "read", "/srv/read", read_only=True), Bind(tmp_path / "write:it", "/srv/write")]
    machines.create("bound", binds=binds)
    machines.start("bound")
    assert out(machines, "bound", "cat", "/srv/read/file") == "from the host"
    assert machines.run("bound", ["touch", "/srv/read/other"]).returncode != 0
    out(machines, "bound", "sh", "-c", "echo from inside >/srv/write/file")
    assert (tmp_path / "write:it/file").read_text() == "from inside\n"
    machines.destroy("bound")
    assert (tmp_path / "read/file").exists()
    assert (tmp_path / "write:it/file").exists()


def test_files_and_address_outlast_a_stop(machines: Machines, pair: Pair) -> None:
    name = pair[1]
    before = machines.get(name)
    out(machines, name, "sh", "-c", "echo kept >/root/file; echo gone >/run/file")
    assert (machines.root(name) / "root/file").read_text() == "kept\n"
    # On the host this link leads to a file of the host, which must not be written through it.
    out(machines, name, "ln", "-sf", str(machines.root(name).parent / "victim"), "/etc/resolv.conf")
    machines.stop(name)
    machines.stop(name)
    assert not machines.is_running(name)
    assert machines.usage(name) == 0
    (machines.root(name) / "root/from-host").write_text("put in while it was off")
    machines.start(name)
    machines.start(name)
    assert out(machines, name, "cat", "/root/file") == "kept"
    assert out(machines, name, "cat", "/root/from-host") == "put in while it was off"
    assert machines.run(name, ["cat", "/run/file"]).returncode != 0
    assert not (machines.root(name).parent / "victim").exists()
    assert "nameserver" in out(machines, name, "cat", "/etc/resolv.conf")
    assert machines.get(name) == before


def test_a_reboot_from_inside(machines: Machines, pair: Pair) -> None:
    name = pair[1]
    boot = out(machines, name, "cat", "/proc/sys/kernel/random/boot_id")
    with machines.popen(name, ["sleep", "983"]) as waiting:
        machines.run(name, ["systemctl", "reboot"], timeout=30)
        # It ends with the machine, and whoever waits for it learns of that.
        try:
            assert waiting.wait(30) != 0
        finally:
            waiting.kill()
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        with contextlib.suppress(NotRunningError):
            done = machines.run(
                name, ["sh", "-c", "systemctl is-system-running; cat /proc/sys/kernel/random/boot_id"], timeout=30
            )
            if done.stdout.startswith("running") and boot not in done.stdout:
                break
    machines.run(name, ["ping", "-c", "1", "-W", "5", pair[0]], check=True)


def test_cut_and_heal(machines: Machines, pair: Pair) -> None:
    one, other = pair
    machines.cut(other)
    assert machines.run(one, ["ping", "-c", "1", "-W", "1", other]).returncode == 1
    assert out(machines, other, "echo", "still there") == "still there"
    machines.heal(other)
    machines.run(one, ["ping", "-c", "1", "-W", "5", other], check=True)


def test_it_outlives_the_kill_of_its_creator(machines: Machines, paths: Paths) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from tabletop.machine import Machines; from tabletop.paths import Paths\n"
        "machines = Machines(Paths(Path(sys.argv[1]), Path(sys.argv[2])))\n"
        "machines.create('orphan'); machines.start('orphan')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    argv = [sys.executable, "-c", code, str(paths.state), str(paths.cache)]
    done = subprocess.run(argv, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert machines.is_running("orphan")
    assert out(machines, "orphan", "systemctl", "is-system-running") == "running"
    machines.destroy("orphan")


def test_it_boots_again_after_everything_was_killed(machines: Machines, paths: Paths, network: Network) -> None:
    machines.create("victim")
    machines.start("victim")
    out(machines, "victim", "sh", "-c", "echo kept >/root/file; sync /root/file")
    identity = ProcessIdentity.load(paths.machines / "victim/process")
    assert identity is not None
    identity.kill()
    assert identity.wait(10)
    # As after a reboot: no process, no mount, no network.
    assert not machines.is_running("victim")
    Hierarchies.of_host().kill(f"tabletop/{paths.tag}-victim")
    for mount in mounts_below(paths.machines / "victim"):
        subprocess.run(["umount", str(mount.point)], check=True)
    network.detach("victim")
    machines.start("victim")
    assert out(machines, "victim", "cat", "/root/file") == "kept"
    machines.destroy("victim")


def test_destroy_leaves_nothing(machines: Machines, paths: Paths, network: Network) -> None:
    machine = machines.create("short")
    machines.start("short")
    identity = ProcessIdentity.load(paths.machines / "short/process")
    assert identity is not None
    leader = identity.leader()
    assert leader is not None
    assert network.veth(machine.index) in links()
    machines.destroy("short")
    assert not identity.is_alive()
    stat = read_stat(leader)
    assert stat is None or stat.state == "Z", "ended, if perhaps not yet waited for by the host's first process"
    assert mounts_below(paths.machines / "short") == []
    assert not (paths.machines / "short").exists()
    assert network.veth(machine.index) not in links()
    assert not network.namespace_file("short").exists()
    assert not list(paths.cache.glob(f"packages/*/{paths.tag}-short"))
    for root in Hierarchies.of_host().roots():
        assert not (root / f"tabletop/{paths.tag}-short").exists()
    assert "short" not in machines.names()
    machines.destroy("short")


def test_names_follow_the_machines(machines: Machines, pair: Pair) -> None:
    machines.create("newcomer")
    assert out(machines, pair[0], "getent", "hosts", "newcomer").startswith(machines.address("newcomer"))
    out(machines, pair[0], "sh", "-c", "echo 192.0.2.9 of-the-charm >>/etc/hosts")
    machines.destroy("newcomer")
    assert machines.run(pair[0], ["getent", "hosts", "newcomer"]).returncode != 0
    assert out(machines, pair[0], "getent", "hosts", "of-the-charm").startswith("192.0.2.9")


def test_many_at_once(machines: Machines) -> None:
    names = [f"many-{number}" for number in range(5)]

    def bring_up(name: str) -> str:
        machines.create(name)
        machines.start(name)
        return machines.address(name)

    began = time.monotonic()
    with ThreadPoolExecutor(len(names)) as pool:
        addresses = list(pool.map(bring_up, names))
    print(f"{len(names)} machines up in {time.monotonic() - began:.1f} s")
    assert len(set(addresses)) == len(names)
    for name in names:
        assert out(machines, name, "systemctl", "is-system-running") == "running"
        assert [out(machines, name, "getent", "hosts", other).split()[0] for other in names] == addresses
    held = [machines.usage(name) for name in names]
    print(f"memory held by an idle machine: {max(held) / 1e6:.1f} MB")
    assert 0 < max(held) < 50e6
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(machines.destroy, names))


def test_a_machine_that_can_t_boot_says_why(machines: Machines, tmp_path: Path) -> None:
    machines.create("broken", binds=[Bind(tmp_path / "missing", "/srv/missing")])
    with pytest.raises(TabletopError, match=r"/missing is missing: broken is to see it as /srv/missing"):
        machines.start("broken")
    machines.create("broken")
    init = machines.root("broken") / "usr/lib/systemd/systemd"
    init.rename(init.with_name("away"))
    with pytest.raises(TabletopError, match=r"broken did not boot; its console ends with: .*No such file or directory"):
        machines.start("broken")
    assert not machines.is_running("broken")
    init.with_name("away").rename(init)
    machines.start("broken")
    machines.destroy("broken")


def test_a_machine_does_not_boot_without_what_it_is_to_see(machines: Machines, paths: Paths) -> None:
    machines.create("blind")
    binds = next(file for file in (paths.machines / "blind").iterdir() if file.name == "binds")
    binds.unlink()
    with pytest.raises(TabletopError):
        machines.start("blind")
    assert not machines.is_running("blind")
    machines.destroy("blind")


def test_a_boot_that_never_ends_is_given_up(machines: Machines) -> None:
    machines.create("endless")
    etc = machines.root("endless") / "etc/systemd/system"
    (etc / "endless.service").write_text("[Service]\nType=oneshot\nExecStart=sleep infinity\n")
    (etc / "multi-user.target.wants").mkdir(exist_ok=True)
    (etc / "multi-user.target.wants/endless.service").symlink_to("../endless.service")
    began = time.monotonic()
    with pytest.raises(TabletopError, match=r"endless did not boot; .*a service has not come to an end of its start"):
        machines.start("endless", timeout=8)
    assert time.monotonic() - began < 60
    assert not machines.is_running("endless")
    machines.destroy("endless")


def test_a_taken_number_is_refused(machines: Machines, pair: Pair) -> None:
    index = machines.get(pair[0]).index
    with pytest.raises(TabletopError, match=f"number {index} is taken, by {pair[0]}"):
        machines.create("second", index=index)
    assert "second" not in machines.names()
