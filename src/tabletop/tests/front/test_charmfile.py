"""What a charm says about itself is read; what is malformed is named with its file, line and key."""

import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tabletop.charmfile import Action, CharmError, CharmFile, Endpoint, Option, Resource, Storage

UNIFIED = """\
type: charm
name: demo
summary: a demo
description: more of it
base: ubuntu@24.04
provides: {web: http}
requires:
  db: {interface: pg, limit: 1, optional: false}
peers: {ring: {interface: ring}}
config:
  options:
    number: {type: int, default: 3, description: a number}
    share: {type: float, default: 3}
    text: {type: string}
    switch: {type: boolean, default: true}
    password: {type: secret}
actions:
  smoke-test:
    description: try it
    params: {n: {type: integer}, bare: }
    required: [n]
    additionalProperties: false
resources: {hadoop: {type: file, filename: hadoop.tar.gz, description: jars}}
storage:
  data: {type: filesystem, location: /srv, multiple: {range: 0-}, minimum-size: 1G}
  more: {type: block, multiple: {range: 1-3}, read-only: true}
extra-bindings: {admin: }
parts: {charm: {plugin: python}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = tmp_path / "charm"
        path.mkdir(exist_ok=True)
        (path / "charmcraft.yaml").write_text(text)
        return path

    return make


def test_unified_file_of_a_folder(folder):
    charm = CharmFile.open(folder(UNIFIED))
    assert (charm.name, charm.summary, charm.description) == ("demo", "a demo", "more of it")
    assert charm.provides == {"web": Endpoint("web", "http", "provider")}
    assert charm.requires == {"db": Endpoint("db", "pg", "requirer", limit=1, optional=False)}
    assert charm.peers == {"ring": Endpoint("ring", "ring", "peer")}
    assert charm.config["number"] == Option("int", 3, "a number")
    assert charm.config["share"] == Option("float", 3.0)
    assert isinstance(charm.config["share"].default, float)
    assert charm.config["text"] == Option("string")
    assert charm.actions["smoke-test"] == Action("try it", {"n": {"type": "integer"}, "bare": {}}, ("n",), False)
    assert charm.resources == {"hadoop": Resource("file", "hadoop.tar.gz", "jars")}
    assert charm.storage["data"] == Storage("data", "filesystem", "", "/srv", 0, None, minimum_size="1G")
    assert charm.storage["more"] == Storage("more", "block", "", "", 1, 3, read_only=True)
    assert charm.extra_bindings == ("admin",)
    assert not charm.subordinate
    assert charm.base == "ubuntu@24.04"
    assert charm.parts == {"charm": {"plugin": "python"}}


def test_every_charm_provides_juju_info(folder):
    assert CharmFile.open(folder(UNIFIED)).endpoints["juju-info"].interface == "juju-info"


def test_a_packed_charm_says_the_same_as_its_folder(folder, tmp_path):
    unified = yaml.safe_load(UNIFIED)
    path = tmp_path / "demo.charm"
    with zipfile.ZipFile(path, "w") as archive:
        metadata = {key: unified[key] for key in unified if key not in ("config", "actions", "parts", "base", "type")}
        archive.writestr("metadata.yaml", yaml.safe_dump(metadata))
        archive.writestr("config.yaml", yaml.safe_dump(unified["config"]))
        archive.writestr("actions.yaml", yaml.safe_dump(unified["actions"]))
        archive.writestr("version", "abc123\n")
    packed, unpacked = CharmFile.open(path), CharmFile.open(folder(UNIFIED))
    for name in ("name", "provides", "requires", "peers", "config", "actions", "resources", "storage"):
        assert getattr(packed, name) == getattr(unpacked, name)
    assert packed.version == "abc123"


def test_a_folder_of_the_older_kind(tmp_path):
    (tmp_path / "metadata.yaml").write_text(
        "name: old\nsubordinate: true\nrequires: {on: {interface: x, scope: container}}"
    )
    charm = CharmFile.open(tmp_path)
    assert charm.subordinate
    assert charm.requires["on"].scope == "container"
    assert charm.config == {}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: demo", "title: demo", 1, "name: is missing"),
        ("name: demo", "name: De-mo", 2, "name: 'De-mo' must be lower-case"),
        ("name: demo", "name: 3", 2, "name: must be a string, not a number"),
        ("summary: a demo", "summary: [a]", 3, "summary: must be a string, not a list"),
        ("type: charm", "type: bundle", 1, "type is 'bundle'"),
        ("{web: http}", "{web: {interfce: http}}", 6, "provides.web: has no interface"),
        ("{web: http}", "{web: [http]}", 6, "provides.web: must be a mapping, not a list"),
        ("{web: http}", "{db: http}", 8, "requires.db: the endpoint is already under provides"),
        ("limit: 1", "limit: one", 8, "requires.db.limit: must be a number, not a string"),
        ("limit: 1", "scope: here", 8, "'here' must be global or container"),
        ("type: int,", "type: integer,", 12, "config.options.number.type: 'integer' isn't a type of option"),
        ("type: int, default", "default", 12, "config.options.number.type: is missing"),
        ("type: int, default: 3", "type: int, default: x", 12, "config.options.number.default: expected int, got 'x'"),
        ("default: true", "default: 1", 15, "config.options.switch.default: expected boolean, got 1"),
        ("config:\n  options:", "config:\n  options: 3\n  x:", 11, "config.options: must be a mapping, not a number"),
        ("required: [n]", "required: [m]", 21, "actions.smoke-test.required: 'm' is required"),
        ("type: file,", "type: disk,", 23, "resources.hadoop.type: 'disk' must be file or oci-image"),
        ("filename: hadoop.tar.gz,", "", 23, "resources.hadoop.filename: is missing"),
        ("type: filesystem", "type: tape", 25, "storage.data.type: 'tape' must be filesystem or block"),
        ("range: 0-}", "range: few}", 25, "storage.data.multiple.range: 'few' must be like"),
        ("summary: a demo", "name: again", 3, "key 'name' is given twice"),
        ("summary: a demo", "summary: 'a", 29, "found unexpected end of stream"),
    ],
)
def test_what_is_malformed_is_named(folder, old, new, line, words):
    assert old in UNIFIED
    with pytest.raises(CharmError) as error:
        CharmFile.open(folder(UNIFIED.replace(old, new)))
    assert str(error.value).startswith(f"{folder(UNIFIED)}/charmcraft.yaml:{line}: ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no zip", "isn't a packed charm"), (None, "no such charm")],
)
def test_what_is_no_charm(tmp_path, content, words):
    path = tmp_path / "x.charm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CharmError, match=words):
        CharmFile.open(path)


def test_archive_without_metadata(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.charm", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(CharmError, match=r"no metadata\.yaml"):
        CharmFile.open(tmp_path / "x.charm")


def test_empty_folder(tmp_path):
    with pytest.raises(CharmError, match=r"no charmcraft\.yaml"):
        CharmFile.open(tmp_path)


def test_extract_keeps_modes_and_links(tmp_path):
    path = tmp_path / "x.charm"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.yaml", "name: x")
        archive.mkdir("empty")
        dispatch = zipfile.ZipInfo("dispatch")
        dispatch.external_attr = 0o100755 << 16
        archive.writestr(dispatch, "#!/bin/sh")
        link = zipfile.ZipInfo("src/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../dispatch")
    CharmFile.open(path).extract(tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/dispatch").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out/metadata.yaml").stat().st_mode) & 0o111 == 0
    assert (tmp_path / "out/src/link").readlink() == Path("../dispatch")
    assert (tmp_path / "out/empty").is_dir()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_extract_stays_in_its_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.charm", "w") as archive:
        archive.writestr("metadata.yaml", "name: x")
        archive.writestr(zipfile.ZipInfo(name), "evil")
    with pytest.raises(CharmError, match="leads out of the charm"):
        CharmFile.open(tmp_path / "x.charm").extract(tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("link", "to", "name"), [("a", "..", "a/evil"), ("a/b", "/", "a/b/tmp"), ("a", "../evil", "a")]
)
def test_extract_follows_no_link_out_of_its_folder(tmp_path, link, to, name):
    with zipfile.ZipFile(tmp_path / "x.charm", "w") as archive:
        archive.writestr("metadata.yaml", "name: x")
        info = zipfile.ZipInfo(link)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, to)
        with warnings.catch_warnings(action="ignore"):
            archive.writestr(name, "evil")
    with pytest.raises(CharmError, match=f"path '{name}' leads out of the charm"):
        CharmFile.open(tmp_path / "x.charm").extract(tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_extract_of_a_folder_copies_it(folder, tmp_path):
    CharmFile.open(folder(UNIFIED)).extract(tmp_path / "out")
    assert (tmp_path / "out/charmcraft.yaml").read_text() == UNIFIED


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("int", "7", 7),
        ("int", 7, 7),
        ("float", "0.5", 0.5),
        ("float", 2, 2.0),
        ("boolean", "True", True),
        ("boolean", False, False),
        ("string", "7", "7"),
        ("secret", "secret:abc", "secret:abc"),
    ],
)
def test_option_takes(kind, given, value):
    parsed = Option(kind).parse(given)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *[("int", value) for value in ("abc", "1.5", 1.5, True, None)],
        *[("float", value) for value in ("abc", True)],
        *[("boolean", value) for value in ("yes", 1)],
        *[("string", value) for value in (7, True, ["a"])],
        ("secret", "plain"),
    ],
)
def test_option_refuses(kind, given):
    with pytest.raises(ValueError, match=f"expected {kind}|expected a secret"):
        Option(kind).parse(given)
