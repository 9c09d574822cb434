"""A bundle is checked as a whole before anything is deployed: every mistake is told, with its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tabletop.bundles import BundleError, find_bundle, plan
from tabletop.bundles.placement import Placement
from tabletop.yamlfile import YamlError

BUNDLE = """\
name: pair
default-base: ubuntu@24.04/stable
applications:
  store:
    charm: ./store
    num_units: 2
    options: {colour: blue, size: 7}
    resources: {seed: seed.txt}
    constraints: mem=1G cores=2
    to: [0, new]
  front:
    charm: web
    num_units: 1
    options:
      ratio: 2
    trust: true
machines:
  0:
relations:
  - [store:data, front:data]
"""


@pytest.fixture
def bundle(tmp_path: Path, charms: Path) -> Callable[..., Path]:
    (tmp_path / "store").symlink_to(charms / "store")
    (tmp_path / "web").symlink_to(charms / "web")
    (tmp_path / "seed.txt").write_text("corn")

    def write(text: str = BUNDLE, name: str = "bundle.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def errors(path: Path, *overlays: Path) -> list[str]:
    """Return the problems of a bundle, without the folder of the files they are in."""
    with pytest.raises(BundleError) as error:
        plan(path, overlays)
    first, *lines = str(error.value).splitlines()
    assert "nothing was deployed" in first
    return [line.strip().replace(f"{path.parent}/", "") for line in lines]


def test_a_right_bundle(bundle, tmp_path):
    found = plan(bundle())
    store, front = found.applications
    assert found.name == "pair"
    assert (store.name, store.charm.name, store.num_units) == ("store", "store", 2)
    assert store.options == {"colour": "blue", "size": 7}
    assert store.resources == {"seed": tmp_path / "seed.txt"}
    assert store.constraints == {"mem": "1G", "cores": "2"}
    assert store.to == (Placement("machine", "0"), Placement("new"))
    assert front.options == {"ratio": 2.0}
    assert front.trust
    assert [str(relation) for relation in found.relations] == ["store:data - front:data"]
    assert found.notices == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("./store", "./ghost.charm", "bundle.yaml:5: charm './ghost.charm' of application 'store': no such file"),
        ("charm: web", "charm: mysql", "bundle.yaml:12: charm 'mysql' of application 'front': no such file; charms"),
        ("    charm: web\n", "", "bundle.yaml:11: application 'front' has no charm"),
        ("colour: blue", "color: blue", "bundle.yaml:7: charm 'store' has no option 'color' (it has: colour, size)"),
        ("size: 7", "size: abc", "bundle.yaml:7: option 'size' of charm 'store': expected int, got 'abc'"),
        ("size: 7", "size: 7.5", "bundle.yaml:7: option 'size' of charm 'store': expected int, got 7.5"),
        ("colour: blue", "colour: 3", "bundle.yaml:7: option 'colour' of charm 'store': expected string, got 3"),
        ("seed: seed.txt", "seed: nope.txt", "bundle.yaml:8: resource 'seed' of charm 'store': no such file: nope.txt"),
        ("seed: seed.txt", "seed: 3", "bundle.yaml:8: resource 'seed' of charm 'store': no such file: 3"),
        ("seed: seed.txt", "sead: seed.txt", "bundle.yaml:8: charm 'store' has no resource 'sead' (it has: seed)"),
        ("mem=1G", "mem", "bundle.yaml:9: bad constraint 'mem'"),
        ("mem=1G", "wheels=4", "bundle.yaml:9: bad constraint 'wheels=4'"),
        ("[0, new]", "[3]", "bundle.yaml:10: bad placement '3': machine 3 isn't among the bundle's machines"),
        ("[0, new]", "[lxd:3]", "bundle.yaml:10: bad placement 'lxd:3': machine 3 isn't among the bundle's machines"),
        ("[0, new]", "[nope/0]", "bundle.yaml:10: bad placement 'nope/0': 'nope' isn't an application of the bundle"),
        ("[0, new]", "[front/1]", "bundle.yaml:10: bad placement 'front/1': 'front' has only 1 units"),
        ("[0, new]", "['?']", "bundle.yaml:10: bad placement '?': expected a machine"),
        ("[0, new]", "['a:b']", "bundle.yaml:10: bad placement 'a:b': expected a machine"),
        ("[0, new]", "[new, new, new]", "bundle.yaml:10: 3 placements for 2 unit(s) of 'store'"),
        ("[0, new]", "[store]", "bundle.yaml:4: placements of store go in a circle"),
        ("num_units: 2", "num_units: -1", "bundle.yaml:6: num_units must not be negative, got -1"),
        ("num_units: 2", "num_units: two", "bundle.yaml:6: num_units must be a number, not a string"),
        ("trust: true", "trust: maybe", "bundle.yaml:16: trust must be true or false, not a string"),
        ("trust: true", "truth: true", "bundle.yaml:16: unknown key 'truth'"),
        ("trust: true", "scale: 1", "bundle.yaml:16: scale can't be had: it is for Kubernetes models; say num_units"),
        ("name: pair", "bundle: kubernetes", "bundle.yaml:1: it is for Kubernetes models"),
        ("name: pair", "saas: {}", "bundle.yaml:1: saas can't be had: relations between models aren't there"),
        ("front:data]", "front:other]", "bundle.yaml:20: store:data speaks interface 'try-data', front:other speaks"),
        ("front:data]", "front:nope]", "bundle.yaml:20: 'front' has no endpoint 'nope' (it has: data, other)"),
        ("front:data]", "back:data]", "bundle.yaml:20: 'back' isn't an application of the bundle"),
        ("front:data]", "store:data]", "bundle.yaml:20: store:data and store:data are both providers of 'try-data'"),
        ("[store:data, front:data]", "store:data", "bundle.yaml:20: a relation is a list of two"),
        ("[store:data, front:data]", "[store:data]", "bundle.yaml:20: a relation is a list of two"),
        (
            "front:data]",
            "front:data]\n  - [front, store]",
            "bundle.yaml:21: relation store:data - front:data is given twice",
        ),
        ("{colour: blue, size: 7}", "[colour]", "bundle.yaml:7: options must be a mapping, not a list"),
        ("  - [store:data, front:data]", "  store: front", "bundle.yaml:19: relations must be a list, not a mapping"),
    ],
)
def test_one_mistake(bundle, old, new, expected):
    assert old in BUNDLE
    found = errors(bundle(BUNDLE.replace(old, new)))
    assert any(line.startswith(expected) for line in found), found


def test_all_mistakes_are_told_at_once(bundle):
    text = BUNDLE.replace("size: 7", "size: abc").replace("front:data]", "front:other]").replace("mem=1G", "mem")
    assert len(errors(bundle(text))) == 3


def test_a_malformed_charm_is_named_by_its_own_file(bundle, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/charmcraft.yaml").write_text("name: Broken\n")
    (line,) = errors(bundle(BUNDLE.replace("charm: web", "charm: broken")))
    assert "broken/charmcraft.yaml:1: name: 'Broken' must be lower-case" in line


def test_an_endpoint_takes_no_more_relations_than_its_limit(bundle):
    text = BUNDLE.replace("machines:", "  other: {charm: ./store}\nmachines:") + "  - [other, front]\n"
    assert any("front:data takes at most 1 relation(s), the bundle has 2" in line for line in errors(bundle(text)))


def test_a_relation_in_several_ways_must_be_told_apart(bundle, packed):
    packed("twin", provides={"a": {"interface": "try-data"}, "b": {"interface": "try-data"}})
    text = BUNDLE.replace("./store", "./twin.charm").replace("    options: {colour: blue, size: 7}\n", "")
    text = text.replace("    resources: {seed: seed.txt}\n", "").replace("store:data, front:data", "store, front")
    (line,) = errors(bundle(text))
    assert "can be related in several ways: store:a front:data; store:b front:data" in line


def test_endpoints_are_found_by_interface(bundle):
    found = plan(bundle(BUNDLE.replace("[store:data, front:data]", "[front, store]")))
    assert [str(relation) for relation in found.relations] == ["store:data - front:data"]


def test_nothing_fits(bundle, packed):
    packed("alone", provides={"a": {"interface": "x"}})
    text = BUNDLE.replace("charm: web", "charm: ./alone.charm").replace("store:data, front:data", "store, front")
    text = text.replace("    options:\n      ratio: 2\n", "")
    (line,) = errors(bundle(text))
    assert "no endpoint of store fits one of front (store:data provider of try-data; front:a provider of x)" in line


def test_a_subordinate_has_no_units_of_its_own_and_goes_by_juju_info(bundle, packed):
    packed("agent", subordinate=True, requires={"host": {"interface": "juju-info", "scope": "container"}})
    text = BUNDLE.replace("charm: web", "charm: ./agent.charm").replace("store:data, front:data", "store, front")
    text = text.replace("    options:\n      ratio: 2\n", "")
    found = plan(bundle(text))
    assert found.applications[1].num_units == 0
    assert str(found.relations[0]) == "store:juju-info - front:host"
    own = text.replace("charm: ./agent.charm", "charm: ./agent.charm\n    to: [new]\n    constraints: mem=1G")
    assert [line.split(": ", 1)[1] for line in errors(bundle(own))] == [
        "to: 'front' is subordinate, its units are where their principals are",
        "constraints: 'front' is subordinate, its units are where their principals are",
    ]


def test_an_endpoint_for_juju_info_that_a_charm_declares_comes_before_the_one_that_each_has(bundle, packed):
    packed("agent", subordinate=True, requires={"host": {"interface": "juju-info", "scope": "container"}})
    packed("teller", provides={"about": {"interface": "juju-info"}})
    text = (
        "applications: {teller: {charm: ./teller.charm}, agent: {charm: ./agent.charm}}\nrelations: [[agent, teller]]\n"
    )
    assert str(plan(bundle(text)).relations[0]) == "teller:about - agent:host"


def test_an_application_is_not_related_to_itself(bundle, packed):
    packed("both", provides={"up": {"interface": "x"}}, requires={"down": {"interface": "x"}})
    text = "applications: {both: {charm: ./both.charm}}\nrelations: [[both, both]]\n"
    assert errors(bundle(text)) == ["bundle.yaml:2: 'both' can't be related to itself"]


def test_one_end_to_several(bundle):
    text = BUNDLE.replace("machines:", "  back: {charm: ./web}\nmachines:")
    found = plan(bundle(text.replace("[store:data, front:data]", "[store:data, [front:data, back:data]]")))
    assert [str(relation) for relation in found.relations] == ["store:data - front:data", "store:data - back:data"]


def test_placement_on_other_units_orders_the_applications(bundle):
    text = BUNDLE.replace("[0, new]", "[front/0, lxd:front]")
    found = plan(bundle(text))
    assert [app.name for app in found.applications] == ["front", "store"]
    assert found.applications[1].to == (Placement("unit", "front/0"), Placement("new", container=True))
    (notice,) = found.notices
    assert "lxd:front: the unit gets a machine of its own" in notice


def test_units_without_a_place_of_their_own(bundle):
    app = plan(bundle(BUNDLE.replace("[0, new]", "front"))).applications[1]
    assert app.placement(1) == Placement("unit", "front")
    app = plan(bundle(BUNDLE.replace("[0, new]", "[0]"))).applications[0]
    assert app.placement(1) == Placement("new")


def test_constraints_of_machines_are_kept_and_checked(bundle):
    found = plan(bundle(BUNDLE.replace("  0:\n", "  0: {constraints: mem=4G cores=2}\n")))
    assert found.machines["0"] == {"mem": "4G", "cores": "2"}
    with pytest.raises(BundleError, match="bad constraint 'mem=much': expected a size such as 512M or 2G"):
        plan(bundle(BUNDLE.replace("  0:\n", "  0: {constraints: mem=much}\n")))


def test_an_application_has_the_architecture_of_the_machine_that_it_is_placed_on(bundle):
    text = BUNDLE.replace("  0:\n", "  0: {constraints: arch=arm64 mem=1G}\n").replace(
        "charm: web\n", "charm: web\n    to: [store/0]\n"
    )
    store, front = plan(bundle(text)).applications
    assert store.constraints == {"mem": "1G", "cores": "2", "arch": "arm64"}
    assert front.constraints == {"arch": "arm64"}, "it is on a machine of store's"
    store, front = plan(bundle(text.replace("[0, new]", "[new, new]"))).applications
    assert "arch" not in {**store.constraints, **front.constraints}


def test_the_units_of_an_application_have_one_architecture(bundle):
    text = BUNDLE.replace("  0:\n", "  0: {constraints: arch=arm64}\n  1: {constraints: arch=amd64}\n")
    assert errors(bundle(text.replace("[0, new]", "[0, 1]"))) == [
        "bundle.yaml:4: application 'store': machine 0 is arm64, machine 1 is amd64; "
        "its units must have one architecture"
    ]
    text = text.replace("cores=2", "arch=amd64").replace("charm: web\n", "charm: web\n    to: [store]\n")
    assert errors(bundle(text)) == [
        "bundle.yaml:4: application 'store': its constraints say arch=amd64, machine 0 is arm64; "
        "its units must have one architecture"
    ]


def test_overlays_change_add_and_remove(bundle, tmp_path):
    overlay = """\
applications:
  store: {num_units: 1, options: {size: 9}, to: null}
  front: null
  more: {charm: web, num_units: 1, options: {loud: true}}
relations:
  - [store, more]
"""
    path = bundle()
    found = plan(path, [bundle(overlay, "overlays/one.yaml").rename(tmp_path / "one.yaml")])
    assert [app.name for app in found.applications] == ["store", "more"]
    assert found.applications[0].num_units == 1
    assert found.applications[0].options == {"colour": "blue", "size": 9}
    assert found.applications[0].to == ()
    assert [str(relation) for relation in found.relations] == ["store:data - more:data"]


def test_overlays_may_follow_in_the_same_file_and_name_their_own_lines(bundle):
    found = errors(bundle(BUNDLE + "---\napplications:\n  front:\n    options: {ratio: much}\n"))
    assert found == ["bundle.yaml:24: option 'ratio' of charm 'web': expected float, got 'much'"]


def test_paths_of_an_overlay_are_relative_to_it(bundle, tmp_path, charms):
    overlay = bundle("applications: {store: {resources: {seed: other.txt}}}\n", "overlays/one.yaml")
    assert errors(bundle(), overlay) == [
        "overlays/one.yaml:1: resource 'seed' of charm 'store': no such file: other.txt"
    ]
    (overlay.parent / "other.txt").write_text("")
    assert plan(bundle(), [overlay]).applications[0].resources == {"seed": overlay.parent / "other.txt"}


def test_an_overlay_that_isnt_there(bundle, tmp_path):
    assert "No such file" in errors(bundle(), tmp_path / "nope.yaml")[0]


def test_options_from_files(bundle, tmp_path):
    text = BUNDLE.replace("colour: blue", "colour: include-file://colour.txt")
    assert "colour.txt: No such file" in errors(bundle(text))[0]
    (tmp_path / "colour.txt").write_text("teal")
    assert plan(bundle(text)).applications[0].options["colour"] == "teal"
    text = text.replace("include-file", "include-base64")
    assert plan(bundle(text)).applications[0].options["colour"] == "dGVhbA=="
    (tmp_path / "colour.txt").write_bytes(b"\xff\x00")
    assert plan(bundle(text)).applications[0].options["colour"] == "/wA="
    (tmp_path / "colour.txt").unlink()
    assert "colour.txt: No such file" in errors(bundle(text))[0]


def test_an_option_without_a_value_keeps_the_charms_default(bundle):
    assert "colour" not in plan(bundle(BUNDLE.replace("colour: blue", "colour: "))).applications[0].options


@pytest.mark.parametrize("text", ["", "name: x\n", "applications: {}\n"])
def test_an_empty_bundle(bundle, text):
    assert "the bundle has no applications" in errors(bundle(text))[0]


@pytest.mark.parametrize("text", ["- a\n", "a: [\n"])
def test_no_bundle_at_all(bundle, text):
    with pytest.raises(YamlError, match=r"bundle\.yaml:"):
        plan(bundle(text))


def test_bundles_are_found_by_file_or_folder(tmp_path, charms):
    (tmp_path / "bundle.yaml").write_text("")
    assert find_bundle(tmp_path) == tmp_path / "bundle.yaml"
    assert find_bundle(tmp_path / "bundle.yaml") == tmp_path / "bundle.yaml"
    assert find_bundle(charms / "store") is None
    assert find_bundle(tmp_path / "x.charm") is None


def test_an_application_without_num_units_gets_no_unit_as_with_juju(bundle):
    text = BUNDLE.replace("    num_units: 1\n", "")
    assert {app.name: app.num_units for app in plan(bundle(text)).applications} == {"store": 2, "front": 0}
    text = BUNDLE.replace("    num_units: 2\n", "")
    assert errors(bundle(text)) == ["bundle.yaml:9: 2 placements for 0 unit(s) of 'store'"]


def test_what_has_no_effect_is_named_in_a_line_each_and_is_no_mistake(bundle):
    text = BUNDLE.replace("    charm: ./store\n", "    charm: ./store\n    channel: 1/stable\n    expose: true\n")
    text = text.replace("    charm: web\n", "    charm: web\n    channel: edge\n    bindings: {data: dmz, '': alpha}\n")
    assert plan(bundle(text)).ineffective == (
        "'channel' of store, front has no effect: charms come from files; there is no Charmhub here",
        "'bindings' of front has no effect: there is one network and one space, alpha",
        "'expose' of store has no effect: open ports can be reached from this machine and from no other, always",
    )
    assert plan(bundle(text)).notices == ()
    text = text.replace("expose: true", "expose: false").replace("dmz", "alpha").replace("    channel: 1/stable\n", "")
    assert [line.partition(" ")[0] for line in plan(bundle(text)).ineffective] == ["'channel'"]
    assert errors(bundle(text.replace("expose: false", "expose: maybe"))) == [
        "bundle.yaml:6: expose must be true or false, not a string"
    ]
