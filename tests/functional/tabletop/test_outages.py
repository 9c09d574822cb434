"""What is done to machines on purpose: networks cut and healed, plugs pulled, folders mounted, limits set."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tabletop.boot import Bind
from tabletop.cgroups import Hierarchies
from tabletop.machine import Machines
from tabletop.network import Network
from tabletop.paths import Paths
from tabletop.quotas import Limits, unenforceable

pytestmark = pytest.mark.timeout(600)  # the first test may have to build the base image

Pair = tuple[str, str]

_SERVE = "import socketserver as s; s.TCPServer(('', 7007), s.BaseRequestHandler).serve_forever()"
_NAME_SERVER = """\
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, sender = server.recvfrom(512)
    if sender[0] != "127.0.0.1":
        continue
    end = query.index(0, 12) + 5
    known = query[end - 4 : end - 2] == bytes((0, 1))
    answer = bytes((0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77)) if known else b""
    server.sendto(query[:2] + bytes((0x81, 0x80, 0, 1, 0, known, 0, 0, 0, 0)) + query[12:end] + answer, sender)
"""


def out(machines: Machines, name: str, *argv: str) -> str:
    return machines.run(name, argv, check=True).stdout.strip()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.2)


def reaches(machines: Machines, name: str, address: str) -> bool:
    return machines.run(name, ["ping", "-c", "1", "-W", "1", address]).returncode == 0


def gateway(network: Network) -> str:
    return str(network.subnet()[1])


@pytest.fixture
def healed(machines: Machines) -> Iterator[None]:
    yield
    machines.heal()


@pytest.mark.usefixtures("healed")
def test_a_machine_cut_off_from_everything_runs_on(machines: Machines, network: Network, pair: Pair) -> None:
    one, other = pair
    machines.cut(one)
    assert not reaches(machines, one, machines.address(other))
    assert not reaches(machines, other, machines.address(one))
    assert not reaches(machines, one, gateway(network))
    with pytest.raises(TimeoutError):
        socket.create_connection((machines.address(one), 9), 1)
    assert reaches(machines, other, gateway(network))
    assert out(machines, one, "hostname") == one, "programs are started in it as ever"
    assert machines.heal(one) == 1
    assert reaches(machines, one, machines.address(other))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((machines.address(one), 9), 1)


@pytest.mark.usefixtures("healed")
def test_two_are_cut_off_from_each_other_alone(machines: Machines, network: Network, pair: Pair) -> None:
    one, other = pair
    machines.cut(one, other=other)
    assert [(cut.link, cut.other, cut.left) for cut in machines.cuts()] == [(one, other, None)]
    assert not reaches(machines, one, machines.address(other))
    assert not reaches(machines, other, machines.address(one))
    assert reaches(machines, one, gateway(network))
    assert reaches(machines, other, gateway(network))
    assert machines.heal(other, other=one) == 1
    assert reaches(machines, one, machines.address(other))


@pytest.mark.usefixtures("healed")
def test_packets_are_lost_not_refused(machines: Machines, pair: Pair) -> None:
    one, other = pair
    with machines.popen(other, ["python3", "-c", _SERVE]) as server:
        try:
            connect = ["timeout", "2", "bash", "-c", f"echo >/dev/tcp/{machines.address(other)}/7007"]
            until(lambda: machines.run(one, connect).returncode == 0)
            machines.cut(one, other=other)
            assert machines.run(one, connect).returncode == 124, "it hangs, which a refused one does not"
            machines.heal()
            assert machines.run(one, connect).returncode == 0
        finally:
            machines.run(other, ["pkill", "-f", "7007"])
            server.wait()


@pytest.mark.usefixtures("healed")
def test_the_outside_world_alone(machines: Machines, network: Network, pair: Pair) -> None:
    one, other = pair
    # An address of this host that is not the bridge's stands for the world: it is reached as that is, by routing.
    outside = "198.18.77.7"
    subprocess.run(["ip", "address", "add", f"{outside}/32", "dev", "lo"], check=True)
    try:
        assert reaches(machines, one, outside)
        machines.cut(one, outside=True)
        assert not reaches(machines, one, outside)
        assert reaches(machines, other, outside)
        assert reaches(machines, one, machines.address(other))
        assert reaches(machines, one, gateway(network))
        machines.heal(one, outside=True)
        assert reaches(machines, one, outside)
    finally:
        subprocess.run(["ip", "address", "delete", f"{outside}/32", "dev", "lo"], check=True)


@pytest.mark.usefixtures("healed")
def test_a_cut_heals_itself_whoever_made_it_has_died(machines: Machines, paths: Paths, pair: Pair) -> None:
    one, other = pair
    script = (
        "import os, sys; from pathlib import Path;"
        "from tabletop.machine import Machines; from tabletop.paths import Paths;"
        "Machines(Paths(*map(Path, sys.argv[1:4]))).cut(sys.argv[4], seconds=3); os.kill(os.getpid(), 9)"
    )
    places = [str(place) for place in (paths.state, paths.cache, paths.run)]
    assert subprocess.run([sys.executable, "-c", script, *places, one], check=False).returncode == -9
    assert not reaches(machines, one, machines.address(other))
    (cut,) = machines.cuts()
    assert cut.left in (1, 2, 3)
    until(lambda: reaches(machines, one, machines.address(other)), 10)
    assert machines.cuts() == []


@pytest.mark.usefixtures("healed")
def test_the_last_word_on_a_cut_s_end_holds(machines: Machines, pair: Pair) -> None:
    machines.cut(pair[0], seconds=600)
    machines.cut(pair[0])
    assert [cut.left for cut in machines.cuts()] == [None]
    machines.cut(pair[0], seconds=1)
    until(lambda: not machines.cuts(), 5)


def test_a_cut_goes_with_its_machine(machines: Machines) -> None:
    machines.create("short")
    machines.start("short")
    machines.cut("short")
    machines.destroy("short")
    assert machines.cuts() == []
    assert machines.heal() == 0


def test_name_servers_on_the_host_s_loopback_are_reached_over_the_bridge(
    machines: Machines, network: Network, pair: Pair
) -> None:
    command = [sys.executable, "-c", _NAME_SERVER, "127.0.0.77"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            assert network.forward_names("127.0.0.77") == gateway(network)
            file = machines.root(pair[0]) / "etc/resolv.conf"
            before = file.read_text()
            file.write_text(f"nameserver {gateway(network)}\n")
            try:
                assert out(machines, pair[0], "getent", "ahostsv4", "sensor.example.net").startswith("192.0.2.77 ")
            finally:
                file.write_text(before)
        finally:
            server.kill()


def test_a_folder_is_mounted_at_once_and_over_every_boot(machines: Machines, tmp_path: Path) -> None:
    folder = tmp_path / "of-the-host"
    for name in ("data", "more"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
    machines.create("mounting", binds=[Bind(folder, "/var/lib/folder")])
    machines.start("mounting")
    try:
        machines.bind("mounting", Bind(folder / "data", "/srv/data"))
        machines.bind("mounting", Bind(folder / "more", "/srv/more", read_only=True))
        assert out(machines, "mounting", "cat", "/srv/data/file", "/srv/more/file") == "datamore"
        assert machines.run("mounting", ["touch", "/srv/more/new"]).returncode != 0
        out(machines, "mounting", "touch", "/srv/data/new")
        assert (folder / "data/new").exists()
        # A reboot from inside is nobody's business here: the manager finds the folders by itself.
        before = machines.incarnation("mounting")
        machines.run("mounting", ["systemctl", "reboot"])
        until(lambda: machines.incarnation("mounting") not in ("", before))
        machines.start("mounting")
        assert out(machines, "mounting", "cat", "/srv/data/file", "/srv/more/file") == "datamore"
        assert machines.run("mounting", ["touch", "/srv/more/new"]).returncode != 0
        machines.unbind("mounting", "/srv/data")
        assert machines.run("mounting", ["mountpoint", "/srv/data"]).returncode != 0
        assert (folder / "data/file").read_text() == "data"
        machines.kill("mounting")
        assert machines.incarnation("mounting") == ""
        machines.start("mounting")
        assert machines.run("mounting", ["ls", "-A", "/srv/data"]).stdout == ""
        assert out(machines, "mounting", "cat", "/srv/more/file") == "more"
    finally:
        machines.destroy("mounting")
    assert (folder / "more/file").read_text() == "more"


def test_memory_and_processors_are_limited(machines: Machines) -> None:
    if unenforceable(Hierarchies.of_host()):
        pytest.skip("this host's control groups can't limit memory and processors")
    machines.create("limited", limits=Limits(memory=300 << 20, cores=1))
    machines.start("limited")
    try:
        eat = "b = bytearray(600 << 20); print(len(b))"
        assert machines.run("limited", ["python3", "-c", eat]).returncode not in (0, 1), (
            "the kernel ends what takes more"
        )
        assert machines.run("limited", ["python3", "-c", eat.replace("600", "60")]).returncode == 0
        spin = "import time\nend = time.time() + 2\nwhile time.time() < end: pass\nprint(time.process_time())"
        spent: list[float] = []
        threads = [
            threading.Thread(target=lambda: spent.append(float(out(machines, "limited", "python3", "-c", spin))))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(spent) < 2 * 1.3, "three processes together get one processor"
    finally:
        machines.destroy("limited")
