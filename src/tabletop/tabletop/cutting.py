"""What is done to the network of machines: they are cut off, and healed."""

import dataclasses
from contextlib import suppress

from tabletop.errors import TabletopError
from tabletop.machine_store import MachineStore, NoSuchMachineError, SpoiltRecordError
from tabletop.network import Network
from tabletop.partition import Cut
from tabletop.programs import ProgramError
from tabletop.running import RunningMachines


class NetworkedMachines(RunningMachines):
    """A tabletop's machines on their network.

    Args:
        store: the machines' records.
        network: their network.
    """

    def __init__(self, store: MachineStore, network: Network):
        super().__init__(store)
        self._network = network

    def cut(self, name: str, *, other: str | None = None, outside: bool = False, seconds: float | None = None) -> None:
        """Cut a machine off: from everything, from one other machine, or from the outside world.

        Both run on, and what either sends is lost on the way, in both directions.

        Args:
            name: the machine.
            other: the one machine that it is cut off from.
            outside: whether it still reaches the other machines and this host's end of the bridge.
            seconds: after how long it is healed, whoever has died until then; None: when `heal` is called.

        Raises:
            TabletopError: the kernel can't filter on bridges.
        """
        link = self._link(name)
        beyond = self._link(other) if other else ""
        try:
            self._network.partition.cut(link, other=beyond, outside=outside, seconds=seconds)
        except ProgramError as error:
            raise TabletopError(
                f"The kernel can't filter packets on a bridge (nf_tables, family bridge): {error}"
            ) from error

    def heal(self, name: str | None = None, *, other: str | None = None, outside: bool = False) -> int:
        """Undo the cuts of a machine, or of all of them; with ``other`` or ``outside``, those cuts alone.

        Returns:
            How many there were.

        Raises:
            TabletopError: nft can't tell what is cut, or heal it.
        """
        link = None if name is None else self._link(name)
        beyond = None if other is None else self._link(other)
        healed = [
            cut
            for cut in self._network.partition.cuts()
            if link in (None, cut.link, cut.other)
            and (beyond is None or beyond in (cut.link, cut.other))
            and (not outside or cut.outside)
        ]
        self._network.partition.heal(healed)
        return len(healed)

    def cuts(self) -> list[Cut]:
        """What is cut now, with the machines' names for their links.

        Raises:
            TabletopError: nft can't tell.
        """
        if not self._store.names():
            return []
        cuts = self._network.partition.cuts()
        names = {self._network.veth(machine.index): machine.name for machine in self._store.all()} if cuts else {}
        return [
            dataclasses.replace(cut, link=names.get(cut.link, cut.link), other=names.get(cut.other, cut.other))
            for cut in cuts
        ]

    def forget_cuts(self, name: str) -> None:
        """Heal what goes: its number, and so the name of its link, will be another machine's.

        Raises:
            TabletopError: nft can't tell what is cut, or heal it.
        """
        # A machine that isn't there has no cuts; of one whose record is spoilt nobody knows the number.
        with suppress(NoSuchMachineError, SpoiltRecordError):
            self.heal(name)

    def _link(self, name: str) -> str:
        return self._network.veth(self._store.get(name).index)
