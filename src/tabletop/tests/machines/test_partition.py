"""Cuts as nft is told of them and tells of them, by a program that stands in for it."""

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tabletop.partition import Cut, Partition
from tabletop.programs import ProgramError

LISTED = {
    "nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"set": {"family": "bridge", "table": "other", "name": "isolated", "elem": ["other-2"]}},
        {"set": {"family": "bridge", "table": "tt", "name": "outside"}},
        {
            "set": {
                "family": "bridge",
                "table": "tt",
                "name": "isolated",
                "elem": ["tt-4", {"elem": {"val": "tt-5", "timeout": 30, "expires": 12}}],
            }
        },
        {
            "set": {
                "family": "bridge",
                "table": "tt",
                "name": "pairs",
                "elem": [
                    {"concat": ["tt-3", "tt-2"]},
                    {"elem": {"val": {"concat": ["tt-2", "tt-3"]}, "timeout": 3, "expires": 2}},
                ],
            }
        },
    ]
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What nft was given to do."""
    (tmp_path / "listed").write_text(json.dumps(LISTED))
    program = tmp_path / "nft"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -j ] && exec /bin/cat {tmp_path}/listed\nexec /bin/cat >>{tmp_path}/told\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "told"


PARTITION = Partition("tt", IPv4Network("10.87.0.0/24"))


@pytest.mark.usefixtures("told")
def test_what_is_cut_is_read_from_the_sets_of_our_table() -> None:
    assert PARTITION.cuts() == [Cut("tt-4"), Cut("tt-5", left=12), Cut("tt-2", "tt-3", left=2)]


@pytest.mark.usefixtures("told")
def test_what_nft_can_t_say_is_not_taken_for_no_cut(tmp_path: Path) -> None:
    (tmp_path / "listed").write_text("no JSON")
    with pytest.raises(ProgramError, match="`nft -j list sets bridge` wrote what is no JSON"):
        PARTITION.cuts()
    (tmp_path / "listed").unlink()
    with pytest.raises(ProgramError, match=r"`nft -j list sets bridge` failed with status 1: .*No such file"):
        PARTITION.cuts()


def test_arp_passes_before_anything_is_dropped(told: Path) -> None:
    PARTITION.cut("tt-2", outside=True)
    rules = [line for line in told.read_text().splitlines() if line.startswith("add rule")]
    for chain in ("forward", "input", "output"):
        own = [rule for rule in rules if f" {chain} " in rule]
        assert own[0].endswith("ether type arp accept")
        assert all(rule.endswith(" drop") for rule in own[1:])
    assert any("iifname @outside ip daddr != 10.87.0.0/24 drop" in rule for rule in rules)


def test_a_cut_replaces_the_one_before_it_in_one_transaction(told: Path) -> None:
    PARTITION.cut("tt-2", other="tt-3", seconds=1.5)
    changes = [line.partition("pairs ")[2] for line in told.read_text().splitlines() if " element " in line]
    assert changes == [
        '{ "tt-2" . "tt-3" }',
        '{ "tt-2" . "tt-3" }',
        '{ "tt-2" . "tt-3" timeout 1500ms }',
        '{ "tt-3" . "tt-2" }',
        '{ "tt-3" . "tt-2" }',
        '{ "tt-3" . "tt-2" timeout 1500ms }',
    ]


def test_healing_what_has_healed_is_no_error(told: Path) -> None:
    PARTITION.heal([Cut("tt-2")])
    assert told.read_text().splitlines() == [
        'add element bridge tt isolated { "tt-2" }',
        'delete element bridge tt isolated { "tt-2" }',
    ]
