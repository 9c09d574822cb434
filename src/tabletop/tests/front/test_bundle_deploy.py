"""A plan is carried out step by step; what is in the model already is left alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tabletop.bundles import Deployment, plan
from tabletop.charmfile import CharmFile
from tabletop.errors import TabletopError

BUNDLE = """\
applications:
  store:
    charm: {charms}/store
    num_units: 2
    options: {{size: 7}}
    to: [{to}]
  front: {{charm: {charms}/web, num_units: 1}}
machines: {{0: , 1: }}
relations: [[store, front]]
"""


class ModelOfApplications:
    """Keeps what a daemon would: applications, units on machines, relations."""

    def __init__(self) -> None:
        self.apps: dict[str, Any] = {}
        self.machines = 0
        self.constraints: dict[str, dict[str, str]] = {}
        self.steps: list[str] = []

    def __call__(self, method: str, progress: object = None, **params: Any) -> Any:
        assert params.pop("model") == "m"
        if method not in ("status", "get_config"):
            self.steps.append(method)
        return getattr(self, method)(**params)

    def status(self) -> dict[str, Any]:
        return {"applications": self.apps}

    def deploy(self, app: str, charm: str, num_units: int, to: list[str], config: dict[str, Any], **_: Any) -> None:
        assert Path(charm).suffix == ".charm"
        self.apps[app] = {"charm-name": Path(charm).stem, "units": {}, "relations": {}, "config": dict(config)}
        self.add_unit(app, num_units, to)

    def add_unit(self, app: str, num_units: int, to: list[str]) -> None:
        for number in range(num_units):
            machine = to[number] if number < len(to) else str(self.machines)
            assert int(machine) <= self.machines
            self.machines += machine == str(self.machines)
            units = self.apps[app]["units"]
            units[f"{app}/{len(units)}"] = {"machine": machine}

    def add_machine(self, constraints: dict[str, str]) -> dict[str, list[str]]:
        self.constraints[str(self.machines)] = constraints
        self.machines += 1
        return {"machines": [str(self.machines - 1)]}

    def integrate(self, a: str, b: str) -> None:
        for mine, other in ((a, b), (b, a)):
            app, endpoint = mine.split(":")
            rows = self.apps[app]["relations"].setdefault(endpoint, [])
            rows.append({"related-application": other.partition(":")[0]})

    def get_config(self, app: str) -> dict[str, Any]:
        return {"settings": {name: {"value": value} for name, value in self.apps[app]["config"].items()}}

    def places(self, app: str) -> list[str]:
        return [unit["machine"] for unit in self.apps[app]["units"].values()]


@pytest.fixture
def model() -> ModelOfApplications:
    return ModelOfApplications()


@pytest.fixture
def deploy(model, charms, tmp_path):
    """Deploy the bundle with the given placements: whether anything changed, and what was reported."""

    def run(to: str = "", **replaced: str) -> tuple[bool, list[str]]:
        text = BUNDLE.format(charms=charms, to=to)
        for old, new in replaced.items():
            text = text.replace(old, new)
        (tmp_path / "bundle.yaml").write_text(text)
        said: list[str] = []

        def packed(folder: Path, constraints: Mapping[str, str]) -> Path:
            return tmp_path / f"{CharmFile.open(folder).name}.charm"

        changed = Deployment(model, "m", packed, said.append).run(plan(tmp_path / "bundle.yaml"))
        return changed, said

    return run


def test_everything_is_added(deploy, model, charms):
    changed, said = deploy()
    assert changed
    assert said == [
        "Executing changes:",
        f"- deploy application store from {charms}/store",
        "- add a unit of store to a new machine",
        "- add a unit of store to a new machine",
        f"- deploy application front from {charms}/web",
        "- add a unit of front to a new machine",
        "- add relation store:data - front:data",
    ]
    assert model.places("store") == ["0", "1"]
    assert model.apps["store"]["config"] == {"size": 7}
    assert model.apps["front"]["relations"]["data"][0]["related-application"] == "store"


def test_the_second_time_changes_nothing(deploy, model):
    deploy("new, 0")
    model.steps.clear()
    assert deploy("new, 0") == (False, [])
    assert model.steps == []


def test_what_is_added_has_a_heading(deploy, model):
    deploy()
    model.apps["front"]["units"].clear()
    assert deploy()[1] == ["Executing changes:", "- add a unit of front to a new machine"]


def test_only_what_is_missing_is_added(deploy, model):
    deploy("0")
    del model.apps["store"]["units"]["store/1"]
    model.apps["store"]["relations"] = {}
    model.steps.clear()
    changed, said = deploy("0")
    assert changed
    assert model.steps == ["add_unit", "integrate"]
    assert said[-2:] == ["- add a unit of store to a new machine", "- add relation store:data - front:data"]


def test_an_option_changed_by_hand_is_left_and_told(deploy, model):
    deploy()
    model.apps["store"]["config"]["size"] = 9
    changed, said = deploy()
    assert not changed
    assert said == ["NOTICE store: size is 9, the bundle says 7; left as it is"]


def test_another_charm_of_that_name_stops_it_before_anything(deploy, model):
    deploy()
    model.apps["front"]["charm-name"] = "other"
    del model.apps["store"]
    model.steps.clear()
    with pytest.raises(TabletopError, match=r"bundle\.yaml:7: application 'front' is there already, with"):
        deploy()
    assert model.steps == []


def test_machines_of_the_bundle_are_made_by_the_first_unit_on_them(deploy, model):
    deploy("1, 1", **{"front: {charm: ": "front: {to: ['1'], charm: "})
    assert model.places("store") == ["0", "0"]
    assert model.places("front") == ["0"]


def test_units_go_where_others_are(deploy, model):
    deploy("0, front/0")
    assert model.places("front") == ["0"]
    assert model.places("store") == ["1", "0"]


def test_machines_are_known_again_by_the_units_on_them(deploy, model):
    deploy("0, 1")
    del model.apps["store"]["units"]["store/1"]
    deploy("0, 0")
    assert model.places("store") == ["0", "0"]


def test_a_unit_that_is_gone_can_not_be_placed_on(deploy, model):
    deploy("0, front/0")
    del model.apps["front"]["units"]["front/0"]
    model.apps["front"]["units"]["front/1"] = {"machine": "0"}
    del model.apps["store"]["units"]["store/1"]
    with pytest.raises(TabletopError, match="can't place a unit on front/0"):
        deploy("0, front/0")


def test_a_machine_with_constraints_is_made_before_its_units_and_once(deploy, model):
    _, said = deploy("1, 1", **{"1: }": "1: {constraints: mem=1G}}"})
    assert model.constraints == {"0": {"mem": "1G"}}
    assert model.places("store") == ["0", "0"]
    assert "- add a machine, 1 of the bundle, with mem=1G" in said
    assert deploy("1, 1", **{"1: }": "1: {constraints: mem=1G}}"}) == (False, [])


def test_no_units_wanted(deploy, model):
    deploy(**{"num_units: 2": "num_units: 0"})
    assert model.places("store") == []


def test_notices_come_first(deploy):
    _, said = deploy("'lxd:0'")
    assert said[0].startswith("NOTICE ")
    assert "machine of its own" in said[0]


def test_what_has_no_effect_is_said_first(deploy):
    said = deploy(**{"num_units: 1": "num_units: 1, expose: true"})[1]
    assert said[0].startswith("NOTICE 'expose' of front has no effect: open ports can be reached")
    assert said[1] == "Executing changes:"


def test_an_application_without_units_is_there_and_related(deploy, model):
    deploy(**{", num_units: 1": ""})
    assert model.apps["front"]["units"] == {}
    assert model.apps["front"]["relations"]
