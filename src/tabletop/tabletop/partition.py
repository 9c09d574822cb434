"""Cutting machines off: packets are dropped on the bridge, in both directions, until the cut is healed.

All there is to know of a cut is in the kernel, in sets of nftables whose elements end by themselves when their time is
up. So a cut outlives whoever made it, and so does its end. ARP passes: a machine that is cut off is not found to be
absent, its answers just never come, as where a link far away is lost.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, cast

from tabletop.programs import ProgramError, run

_ALL, _PAIRS, _OUTSIDE = "isolated", "pairs", "outside"


@dataclass(frozen=True)
class Cut:
    """One machine that is cut off, by the name of the host's end of its link."""

    link: str
    other: str = ""
    """The link of the one machine that it is cut off from."""
    outside: bool = False
    """Whether it is cut off from all that is not a machine or this host's end of the bridge."""
    left: int | None = None
    """Seconds until it heals; None: when that is asked for."""


@dataclass(frozen=True)
class Partition:
    """The cuts of one tabletop's network.

    Args:
        table: the name of its nftables table (family bridge).
        subnet: the machines' addresses.
    """

    table: str
    subnet: IPv4Network

    def cut(self, link: str, *, other: str = "", outside: bool = False, seconds: float | None = None) -> None:
        """Cut a machine off from another, from the outside world, or from everything; the last word on its end holds.

        Raises:
            ProgramError: the kernel can't filter on bridges.
        """
        name, elements = _elements(link, other, outside=outside)
        end = "" if seconds is None else f" timeout {max(1, round(seconds * 1000))}ms"
        lines = [self._tables()]
        for element in elements:
            # Once more and away first, for one that is there keeps the end that it has.
            lines += [
                f"add element bridge {self.table} {name} {{ {element} }}",
                f"delete element bridge {self.table} {name} {{ {element} }}",
                f"add element bridge {self.table} {name} {{ {element}{end} }}",
            ]
        run(["nft", "--file", "-"], stdin="\n".join(lines) + "\n")

    def heal(self, cuts: Iterable[Cut]) -> None:
        """Undo cuts; one that has ended by itself is no error."""
        for cut in cuts:
            name, elements = _elements(cut.link, cut.other, outside=cut.outside)
            lines = [f"add element bridge {self.table} {name} {{ {element} }}" for element in elements]
            lines += [f"delete element bridge {self.table} {name} {{ {element} }}" for element in elements]
            run(["nft", "--file", "-"], stdin="\n".join(lines) + "\n")

    def cuts(self) -> list[Cut]:
        """What is cut now, each pair once.

        Raises:
            ProgramError: nft can't tell.
        """
        argv = ["nft", "-j", "list", "sets", "bridge"]
        said = run(argv)
        try:
            listed: Mapping[str, Any] = json.loads(said)
        except ValueError as error:
            raise ProgramError(f"`{' '.join(argv)}` wrote what is no JSON: {error}") from error
        found: list[Cut] = []
        for item in listed["nftables"]:
            one = item.get("set", {})
            if one.get("table") == self.table:
                found += [_read(one["name"], element) for element in one.get("elem", ())]
        return [cut for cut in found if not cut.other or cut.link < cut.other]

    def _tables(self) -> str:
        table = f"bridge {self.table}"
        inside = f"{self.subnet}"
        lines = [
            f"add table {table}",
            f"add set {table} {_ALL} {{ type ifname; flags timeout; }}",
            f"add set {table} {_OUTSIDE} {{ type ifname; flags timeout; }}",
            f"add set {table} {_PAIRS} {{ type ifname . ifname; flags timeout; }}",
        ]
        rules = {
            "forward": (f"iifname @{_ALL} drop", f"oifname @{_ALL} drop", f"iifname . oifname @{_PAIRS} drop"),
            "input": (f"iifname @{_ALL} drop", f"iifname @{_OUTSIDE} ip daddr != {inside} drop"),
            "output": (f"oifname @{_ALL} drop", f"oifname @{_OUTSIDE} ip saddr != {inside} drop"),
        }
        for chain, texts in rules.items():
            lines += [
                f"add chain {table} {chain} {{ type filter hook {chain} priority filter; policy accept; }}",
                f"flush chain {table} {chain}",
                *(f"add rule {table} {chain} {text}" for text in ("ether type arp accept", *texts)),
            ]
        return "\n".join(lines)


def _elements(link: str, other: str, *, outside: bool) -> tuple[str, list[str]]:
    if other:
        return _PAIRS, [f'"{link}" . "{other}"', f'"{other}" . "{link}"']
    return _OUTSIDE if outside else _ALL, [f'"{link}"']


def _read(name: str, element: Any) -> Cut:
    """Read an element of a set as nft writes it: bare, or with the time that it has left."""
    timed = _mapping(_mapping(element).get("elem"))
    value: Any = timed["val"] if timed else element
    left: int | None = timed.get("expires")
    if name == _PAIRS:
        one, other = map(str, _mapping(value)["concat"])
        return Cut(one, other, left=left)
    return Cut(str(value), outside=name == _OUTSIDE, left=left)


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
