"""Which machines a charm is for: what its metadata says, and what machine code is in it."""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tabletop.charmfile import CharmFile
from tabletop.charmplatforms import architectures_of_platforms
from tabletop.elf import architecture_of, machine_code
from tabletop.version import host_architecture

OTHER = "amd64" if host_architecture() == "arm64" else "arm64"


def header(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(44)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (header(62), "amd64"),
        (header(183), "arm64"),
        (header(22), "machine 22"),
        (b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x03\x00\xb7", "arm64"),
        (header(62)[:19], None),
        (b"#!/usr/bin/python3 -I\n", None),
        (b"", None),
    ],
)
def test_the_header_of_machine_code(content, expected):
    assert architecture_of(content) == expected


def test_machine_code_below_a_folder(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), tmp_path / "a/b/python")
    (tmp_path / "a/text").write_text("text")
    (tmp_path / "a/lib.so").write_bytes(header(183))
    assert list(machine_code(tmp_path)) == [
        (tmp_path / "a/b/python", host_architecture()),
        (tmp_path / "a/lib.so", "arm64"),
    ]


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [
        ("{amd64: , arm64: }", ("amd64", "arm64")),
        ("{'ubuntu@22.04:amd64': , 'ubuntu@24.04:amd64': , 'ubuntu@24.04:arm64': }", ("amd64", "arm64")),
        ("{any: {build-on: [amd64], build-for: [all]}}", ("all",)),
        ("{jammy: {build-on: amd64, build-for: 'ubuntu@22.04:arm64'}}", ("arm64",)),
        ("null", ()),
    ],
)
def test_platforms(platforms, expected):
    assert architectures_of_platforms(yaml.safe_load(platforms)) == expected


@pytest.fixture
def packed(tmp_path):
    """Make a packed charm of some architectures, with a file of some content."""

    def make(architectures, content=b"print()\n"):
        path = tmp_path / "demo.charm"
        manifest = {"bases": [{"name": "ubuntu", "channel": "24.04", "architectures": architectures}]}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.yaml", "name: demo\n")
            archive.writestr("venv/module.so", content)
            if architectures is not None:
                archive.writestr("manifest.yaml", yaml.safe_dump(manifest))
        return CharmFile.open(path)

    return make


def test_a_packed_charm_runs_where_its_manifest_says(packed):
    charm = packed([host_architecture()], header(62))
    assert charm.architectures == (host_architecture(),)
    assert charm.runs_on(host_architecture())
    assert not charm.runs_on(OTHER)
    assert packed(["all"], header(62)).runs_on(OTHER)
    assert packed(None, header(62)).runs_on(OTHER)


def test_a_packed_charm_of_python_alone_runs_everywhere(packed):
    assert packed([host_architecture()]).runs_on(OTHER)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine/src").mkdir(parents=True)
    (tmp_path / "mine/src/charm.py").write_text("")
    (tmp_path / "mine/charmcraft.yaml").write_text("name: mine\nparts:\n  charm: {plugin: python, source: .}\n")
    return tmp_path / "mine"


def test_a_folder_is_packed_for_the_machines_it_goes_to(run, daemon, home, folder):
    daemon.answers["architecture"] = OTHER
    status, _, err = run("deploy", "-m", "m", folder, "--constraints", f"arch={OTHER} mem=1G", "--to", "3")
    assert status == 0
    assert f"mine: packed for {OTHER}" in err
    assert f"NOTICE {OTHER} machines are emulated on this host" in err
    assert daemon.asked("architecture") == [{"model": "m", "constraints": {"arch": OTHER, "mem": "1G"}, "to": ["3"]}]
    path = daemon.asked("deploy")[0]["charm"]
    assert path == str(home / f"cache/charms/mine/mine_{OTHER}.charm")
    assert CharmFile.open(Path(path)).architectures == (OTHER,)
    assert run("refresh", "-m", "m", "mine", "--path", folder)[0] == 0
    assert daemon.asked("architecture")[1] == {"model": "m", "app": "mine"}
    assert daemon.asked("refresh")[0]["charm"] == path


def test_a_bundle_s_charms_are_packed_for_their_machines(run, daemon, folder):
    daemon.answers["architecture"] = lambda constraints, **_: constraints.get("arch", host_architecture())
    daemon.answers["status"] = {"applications": {}}
    applications = {
        "near": {"charm": "./mine", "num_units": 1},
        "far": {"charm": "./mine", "num_units": 1, "constraints": f"arch={OTHER}"},
    }
    (folder.parent / "bundle.yaml").write_text(yaml.safe_dump({"applications": applications}))
    status, _, err = run("deploy", "-m", "m", folder.parent / "bundle.yaml")
    assert status == 0, err
    names = {asked["app"]: Path(asked["charm"]).name for asked in daemon.asked("deploy")}
    assert names == {"near": "mine.charm", "far": f"mine_{OTHER}.charm"}
    assert err.count("NOTICE") == 1
    applications["far"] = {"charm": "./mine", "num_units": 1, "to": "0"}
    machines = {"machines": {"0": {"constraints": f"arch={OTHER}"}}}
    daemon.answers["add_machine"] = {"machines": ["7"]}
    daemon.calls.clear()
    (folder.parent / "bundle.yaml").write_text(yaml.safe_dump({"applications": applications, **machines}))
    status, _, err = run("deploy", "-m", "m", folder.parent / "bundle.yaml")
    assert status == 0, err
    far = next(asked for asked in daemon.asked("deploy") if asked["app"] == "far")
    assert (Path(far["charm"]).name, far["constraints"], far["to"]) == (f"mine_{OTHER}.charm", {"arch": OTHER}, ["7"])
    assert daemon.asked("add_machine")[0]["constraints"] == {"arch": OTHER}
    daemon.calls.clear()
    applications["far"]["constraints"] = "arch=s390x"
    (folder.parent / "bundle.yaml").write_text(yaml.safe_dump({"applications": applications, "machines": {"0": None}}))
    status, _, err = run("deploy", "-m", "m", folder.parent / "bundle.yaml")
    assert (status, daemon.asked("deploy")) == (1, [])
    assert err.endswith("ERROR arch=s390x: machines are amd64 or arm64\n")


def test_a_folder_runs_where_it_can_be_packed_for(tmp_path):
    text = "type: charm\nname: demo\nsummary: a demo\nplatforms: {amd64: }\n"
    (tmp_path / "charmcraft.yaml").write_text(text)
    charm = CharmFile.open(tmp_path)
    assert (charm.runs_on("amd64"), charm.runs_on("arm64")) == (True, False)
