from pathlib import Path

from tabletop.paths import Paths


def test_defaults_and_environment() -> None:
    assert Paths.from_environment({}) == Paths()
    assert Paths.from_environment({"TABLETOP_STATE": ""}).state == Path("/var/lib/tabletop")
    given = {"TABLETOP_STATE": "/s", "TABLETOP_CACHE": "/c", "TABLETOP_RUN": "/r"}
    assert Paths.from_environment(given) == Paths(Path("/s"), Path("/c"), Path("/r"))


def test_the_tag_follows_the_state_directory() -> None:
    assert Paths().tag == "tabletop"
    assert Paths(cache=Path("/elsewhere")).tag == "tabletop"
    assert Paths(Path("/one")).tag != Paths(Path("/two")).tag
    assert len(Paths(Path("/one")).tag) == 8
