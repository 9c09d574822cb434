"""lint: each mistake with its file and line, warnings apart; neither root nor a daemon is needed."""

import json
import os
from pathlib import Path

import pytest

GOOD = """\
name: good
title: Good
summary: A good charm.
description: It is good.
base: ubuntu@24.04
platforms: {amd64: }
assumes: [juju >= 3.6, any-of: [k8s-api, juju < 4]]
parts: {charm: {plugin: python, source: .}}
provides:
  data: {interface: x}
requires:
  other: {interface: y}
config:
  options:
    colour: {type: string, default: red, description: A colour.}
    size: {type: int, default: 1, description: A size.}
actions:
  act:
    description: Acts.
    params:
      n: {type: integer, description: A number.}
resources:
  blob: {type: file, filename: b, description: Bytes.}
"""
BUNDLE = """\
name: both
applications:
  good:
    charm: ../build/good.charm
    options: {colour: blue}
    resources: {blob: ../build/blob}
    to: [0]
    constraints: mem=2G cores=2
    num_units: 1
  other:
    charm: ../build/other.charm
    resources: {blob: ../build/blob}
    num_units: 1
machines:
  0:
relations:
  - [good:data, other:want]
"""


def charm(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "charmcraft.yaml").write_text(text)
    for name in ("README.md", "icon.svg"):
        (folder / name).write_text("")
    return folder


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A bundle with two charms that are folders, not packed yet."""
    monkeypatch.chdir(tmp_path)
    charm(tmp_path / "good", GOOD)
    other = GOOD.replace("name: good", "name: other").replace("other: {interface: y}", "want: {interface: x}")
    charm(tmp_path / "other", other)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/bundle.yaml").write_text(BUNDLE)
    return tmp_path


def test_nothing_to_find(run, tree):
    assert run("lint", "--strict", "bundle", "good", "other") == (0, "", "1 bundle, 2 charms: 0 errors, 0 warnings\n")
    assert not (tree / "state").exists()


def test_a_folder_of_several(run, tree):
    (tree / "all").mkdir()
    for name in ("good", "other", "bundle"):
        (tree / name).rename(tree / "all" / name)
    (tree / "all/notes").mkdir()
    assert run("lint", "--strict", "all") == (0, "", "1 bundle, 2 charms: 0 errors, 0 warnings\n")


def test_neither_root_nor_daemon(run, tree, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run("lint", "good")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (
            "charm: ../build/good.charm",
            "charm: ../build/bad.charm",
            "4: charm '../build/bad.charm' of application 'good'",
        ),
        ("colour: blue", "color: blue", "5: charm 'good' has no option 'color'"),
        ("colour: blue", "size: many", "5: option 'size' of charm 'good': expected int, got 'many'"),
        ("blob: ../build/blob}\n    to", "bulb: x}\n    to", "6: charm 'good' has no resource 'bulb'"),
        ("to: [0]", "to: [1]", "7: bad placement '1': machine 1 isn't among the bundle's machines"),
        ("cores=2", "cores=two", "8: bad constraint 'cores=two': expected a number"),
        ("cores=2", "speed=2", "8: bad constraint 'speed=2': expected KEY=VALUE, KEY one of"),
        ("other:want", "other:wish", "17: 'other' has no endpoint 'wish'"),
        (
            "good:data, other:want",
            "good:other, other:data",
            "17: good:other speaks interface 'y', other:data speaks 'x'",
        ),
        ("good:data, other:want", "good:data, other:data", "17: good:data and other:data are both providers of 'x'"),
        ("name: both", "label: both", "1: unknown key 'label'"),
        ("    to: [0]", "    too: [0]", "7: unknown key 'too'"),
        ("name: both", "name: [", "3: expected ',' or ']'"),
    ],
)
def test_mistakes_of_a_bundle(run, tree, old, new, found):
    path = tree / "bundle/bundle.yaml"
    assert old in BUNDLE
    path.write_text(BUNDLE.replace(old, new))
    status, out, err = run("lint", "bundle/bundle.yaml", "good", "other")
    assert status == 1
    assert any(line.startswith(f"bundle/bundle.yaml:{found}") for line in out.splitlines()), out
    assert "1 error" in err


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("to: [0]", "to: [new]", "15: warning: machine 0 is used by no application's 'to'"),
        ("to: [0]", "to: [lxd:0]", "7: warning: lxd:0: the unit gets a machine of its own"),
        (
            "    resources: {blob: ../build/blob}\n    to",
            "    to",
            "3: warning: application 'good' is given no resource 'blob'",
        ),
        (
            "    resources: {blob: ../build/blob}\n    num_units: 1\n",
            "    resources: {blob: ../build/blob}\n",
            "10: warning: application 'other' has no num_units, so it gets no unit",
        ),
    ],
)
def test_what_could_be_better_in_a_bundle(run, tree, old, new, found):
    (tree / "bundle/bundle.yaml").write_text(BUNDLE.replace(old, new))
    status, out, _ = run("lint", "bundle", "good", "other")
    assert status == 0
    assert f"bundle/bundle.yaml:{found}" in out
    assert run("lint", "--strict", "bundle", "good", "other")[0] == 1


def test_overlays_of_a_folder_are_each_laid_over_it(run, tree):
    overlays = tree / "bundle/overlays"
    overlays.mkdir()
    (overlays / "a.yaml").write_text("applications:\n  good: {num_units: 2}\n")
    (overlays / "b.yaml").write_text("applications:\n  good:\n    options: {hue: blue}\n")
    (overlays / "c.yaml").write_text("applications: [\n")
    status, out, _ = run("lint", "bundle", "good", "other")
    assert status == 1
    assert "bundle/overlays/b.yaml:3: charm 'good' has no option 'hue'" in out
    assert "bundle/overlays/c.yaml:2: " in out
    assert "a.yaml" not in out
    status, out, _ = run("lint", "bundle", "good", "other", "--overlay", "bundle/overlays/a.yaml")
    assert (status, out) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("title: Good", "heading: Good", "2: unknown key 'heading'"),
        ("type: string, default", "default", "15: option 'colour': has no type (string, int, float, boolean, secret)"),
        ("type: string", "type: text", "15: option 'colour': 'text' isn't a type"),
        (
            "type: int, default: 1",
            "type: int, default: one",
            "16: config.options.size.default: expected int, got 'one'",
        ),
        ("type: int,", "type: int, min: 1,", "16: config.options.size: unknown key 'min'"),
        ("data: {interface: x}", "data: {optional: true}", "10: provides.data: has no interface"),
        ("data: {interface: x}", "data: {interface: x, kind: y}", "10: provides.data: unknown key 'kind'"),
        ("  act:", "  Act:", "18: action 'Act': must be lower-case letters"),
        ("juju >= 3.6", "juju => 3.6", "7: assumes: 'juju => 3.6' isn't a feature"),
        ("any-of:", "some-of:", "7: assumes: unknown key 'some-of'"),
        ("base: ubuntu@24.04\nplatforms: {amd64: }\n", "", "1: says for no base what it is to be built for"),
        ("name: good", "name: Good", "1: name: 'Good' must be lower-case"),
        ("name: good", "name: good\nname: good", "2: key 'name' is given twice"),
        ("summary: A good charm.", "summary: A good charm.\nlinks: {home: x}", "4: links: unknown key 'home'"),
    ],
)
def test_mistakes_of_a_charm(run, tree, old, new, found):
    (tree / "good/charmcraft.yaml").write_text(GOOD.replace(old, new))
    status, out, _ = run("lint", "good")
    assert status == 1
    assert f"good/charmcraft.yaml:{found}" in out or f"good/charmcraft.yaml: {found}" in out
    assert len([line for line in out.splitlines() if "warning" not in line]) == 1


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("title: Good\n", "", "good/charmcraft.yaml:1: warning: has no title"),
        ("assumes: [juju >= 3.6, any-of: [k8s-api, juju < 4]]\n", "", "warning: has no assumes"),
        (", default: red", "", "good/charmcraft.yaml:15: warning: option 'colour': has no default"),
        (", description: A colour.", "", "good/charmcraft.yaml:15: warning: config.options.colour: has no description"),
        ("    description: Acts.\n", "", "good/charmcraft.yaml:18: warning: actions.act: has no description"),
        (", description: A number.", "", "good/charmcraft.yaml:21: warning: actions.act.params.n: has no description"),
        ("type: integer, ", "", "good/charmcraft.yaml:21: warning: parameter 'n' of action 'act': has no type"),
        (", description: Bytes.", "", "good/charmcraft.yaml:23: warning: resources.blob: has no description"),
        ("A good charm.", "long " * 50, "good/charmcraft.yaml:3: warning: summary: is longer than"),
    ],
)
def test_what_could_be_better_in_a_charm(run, tree, old, new, found):
    (tree / "good/charmcraft.yaml").write_text(GOOD.replace(old, new))
    status, out, err = run("lint", "good")
    assert status == 0
    assert found in out
    assert "0 errors, 1 warning" in err


def test_what_belongs_beside_it(run, tree):
    (tree / "good/icon.svg").unlink()
    (tree / "good/README.md").unlink()
    out = run("lint", "good")[1]
    assert out.splitlines() == [
        "good: warning: has no icon.svg: Charmhub shows it",
        "good: warning: has no README.md: it says what the charm is for",
    ]


def test_json(run, tree):
    (tree / "good/charmcraft.yaml").write_text(GOOD.replace("title: Good", "heading: Good"))
    status, out, _ = run("lint", "good", "--format", "json")
    assert status == 1
    assert json.loads(out) == {
        "errors": [{"file": "good/charmcraft.yaml", "line": 2, "message": "unknown key 'heading'"}],
        "warnings": [{"file": "good/charmcraft.yaml", "line": 1, "message": "has no title"}],
    }


def test_a_packed_charm(run, tree, packed):
    path = packed("web", {"size": {"type": "int"}})
    assert run("lint", path)[0] == 0
    path.write_text("no zip")
    assert "isn't a packed charm" in run("lint", path)[1]


@pytest.mark.parametrize(
    ("words", "expected", "code"),
    [
        (["nope"], "nope: no such file or folder", 1),
        (["good/README.md"], "is neither a bundle (.yaml) nor a charm", 1),
        (["good", "--overlay", "x.yaml"], "--overlay is for bundles", 2),
    ],
)
def test_what_can_not_be_checked(run, tree, words, expected, code):
    status, _, err = run("lint", *words)
    assert status == code
    assert expected in err
