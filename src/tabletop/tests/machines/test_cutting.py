"""Machines that are cut off, by their names; a program stands in for nft, and nothing runs."""

import json
from pathlib import Path

import pytest

from tabletop.cutting import NetworkedMachines
from tabletop.errors import TabletopError
from tabletop.machine_store import Machine, MachineStore
from tabletop.network import Network
from tabletop.partition import Cut
from tabletop.paths import Paths

NFT = """\
#!/bin/sh
if [ "$1" = -j ]; then exec /bin/cat {listed}; fi
exec /bin/cat >>{told}
"""


class Host:
    """Machines `m-0` (index 2) and `m-1` (index 3), and what nft is to list and was told."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.listed, self.told = directory / "listed", directory / "told"
        (directory / "nft").write_text(NFT.format(listed=self.listed, told=self.told))
        (directory / "nft").chmod(0o755)
        monkeypatch.setenv("PATH", str(directory))
        paths = Paths(directory / "state", directory / "cache", directory / "run")
        self.network, self.store = Network(paths), MachineStore(paths)
        paths.state.mkdir()
        (paths.state / "network.json").write_text('{"subnet": "10.87.0.0/24", "last": 3}')
        for index in (2, 3):
            self.store.save(Machine(f"m-{index - 2}", index, f"10.87.0.{index}", "image", "kind", "uuid"))
        self.machines = NetworkedMachines(self.store, self.network)

    def cut_off(self, **sets: list[object]) -> None:
        """Let nft list elements of the sets."""
        listed = [{"set": {"table": self.network.table, "name": name, "elem": one}} for name, one in sets.items()]
        self.listed.write_text(json.dumps({"nftables": listed}))

    def link(self, index: int) -> str:
        return self.network.veth(index)

    def deleted(self) -> list[str]:
        """Return what nft was told to delete since this was asked for."""
        lines = self.told.read_text().splitlines() if self.told.exists() else []
        self.told.unlink(missing_ok=True)
        return [line.partition("{")[2].strip(" }") for line in lines if line.startswith("delete element")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_cuts_bear_the_names_of_machines(host: Host) -> None:
    host.cut_off(isolated=[host.link(2), "other-9"], pairs=[{"concat": [host.link(2), host.link(3)]}])
    assert host.machines.cuts() == [Cut("m-0"), Cut("other-9"), Cut("m-0", "m-1")]


def test_the_one_that_is_named_is_healed(host: Host) -> None:
    both = [{"concat": [host.link(2), host.link(3)]}]
    host.cut_off(isolated=[host.link(2), host.link(3)], outside=[host.link(2)], pairs=both)
    assert host.machines.heal("m-0", other="m-1") == 1
    assert host.deleted() == [f'"{host.link(2)}" . "{host.link(3)}"', f'"{host.link(3)}" . "{host.link(2)}"']
    assert host.machines.heal("m-0", outside=True) == 1
    assert host.machines.heal("m-1") == 2
    assert host.machines.heal() == 4


def test_a_machine_is_cut_off_from_another(host: Host) -> None:
    host.machines.cut("m-0", other="m-1", seconds=3)
    assert f'{{ "{host.link(2)}" . "{host.link(3)}" timeout 3000ms }}' in host.told.read_text()
    with pytest.raises(TabletopError, match="There is no machine m-7"):
        host.machines.cut("m-7")


def test_a_kernel_that_can_t_filter_on_bridges_is_named(host: Host, tmp_path: Path) -> None:
    (tmp_path / "nft").write_text("#!/bin/sh\necho 'Operation not supported' >&2; exit 1\n")
    with pytest.raises(TabletopError, match=r"can't filter packets on a bridge .*Operation not supported"):
        host.machines.cut("m-0")


def test_what_nft_can_t_tell_is_said_and_not_taken_for_nothing(host: Host) -> None:
    for ask in (host.machines.cuts, host.machines.heal, lambda: host.machines.forget_cuts("m-0")):
        with pytest.raises(TabletopError, match="`nft -j list sets bridge` failed with status 1"):
            ask()


def test_without_machines_nothing_is_asked(host: Host) -> None:
    for name in host.store.names():
        (host.store.directory(name) / "machine.json").unlink()
    assert host.machines.cuts() == []


def test_cuts_go_with_their_machine(host: Host) -> None:
    host.cut_off(isolated=[host.link(2), host.link(3)])
    host.machines.forget_cuts("m-0")
    assert host.deleted() == [f'"{host.link(2)}"']
    host.machines.forget_cuts("m-7")
    (host.store.directory("m-1") / "machine.json").write_text("spoilt")
    host.machines.forget_cuts("m-1")
    assert host.deleted() == []
