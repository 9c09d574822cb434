"""A charm's folder becomes a `.charm` that runs; no change means no work; what is missing is named."""

import base64
import hashlib
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tabletop.charmfile import CharmFile
from tabletop.packing import PackError, pack, venv
from tabletop.version import host_architecture

OTHER = "amd64" if host_architecture() == "arm64" else "arm64"
GLIBC = (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2].replace(".", "_")
CACHE_TAG = "-".join(venv.python()[1].split("-")[1:3])

CHARMCRAFT = """\
type: charm
name: tiny
title: Tiny
summary: a tiny charm
description: that prints
base: ubuntu@24.04
platforms: {platforms}
links: {{contact: someone, source: https://example.com}}
provides: {{web: {{interface: http}}}}
parts:
  charm:
    plugin: python
    source: .
    python-requirements: {requirements}
    python-packages: {packages}
"""
CHARM = """\
import sys, importlib.metadata, shared, helper, wheelhouse
print(shared.ANSWER, helper.NAME, wheelhouse.__name__, importlib.metadata.version("shared"), sys.prefix, sys.path[0])
"""


class Workspace:
    """A charm, a package it shares, and a wheel that its requirements pin."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "charms/tiny"
        self.package = root / "src/shared"
        self.cache = root / "cache"
        self.output = root / "out/tiny.charm"
        self.said: list[str] = []
        (self.folder / "src/__pycache__").mkdir(parents=True)
        (self.folder / "src/__pycache__/charm.cpython-38.pyc").write_bytes(b"old")
        (self.folder / "src/charm.py").write_text(CHARM)
        (self.folder / "src/helper.py").write_text("NAME = 'helper'\n")
        (self.folder / "tests").mkdir()
        (self.folder / "tests/test_charm.py").write_text("")
        (self.folder / "README.md").write_text("# tiny\n")
        (self.package / "shared").mkdir(parents=True)
        (self.package / "shared/__init__.py").write_text("ANSWER = 42\n")
        self.project(dependencies=["wheelhouse>=1"])
        self.requirements = root / "requirements.txt"
        self.require(self.wheel("wheelhouse"))
        self.charmcraft()

    def project(self, **keys: object) -> None:
        lines = [f"{key} = {value!r}" for key, value in {"name": "shared", "version": "0.1.0", **keys}.items()]
        (self.package / "pyproject.toml").write_text("\n".join(["[project]", *lines, ""]))

    def charmcraft(
        self,
        requirements: str = "[../../requirements.txt]",
        packages: str = "[../../src/shared]",
        platforms: str = "{amd64: , arm64: }",
    ) -> None:
        text = CHARMCRAFT.format(requirements=requirements, packages=packages, platforms=platforms)
        (self.folder / "charmcraft.yaml").write_text(text)

    def pack(self, output: Path | None = None, architecture: str | None = None):
        return pack(self.folder, output or self.output, self.cache, self.said.append, architecture=architecture)

    def require(self, *digests: str) -> None:
        """Pin the wheels of the package wheelhouse that have these SHA-256."""
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in digests)
        text = f"--no-index\n--find-links {self.root / 'wheels'}\nwheelhouse==1.0 {hashes}\n"
        self.requirements.write_text(text)

    def wheel(self, name: str, tag: str = "py3-none-any", code: bytes = b"") -> str:
        """Make a wheel; return its SHA-256."""
        house = self.root / "wheels"
        house.mkdir(exist_ok=True)
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": b"VALUE = 1\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        }
        if code:
            files[f"{name}_c.so"] = code
        rows = [
            f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},"
            for path, content in files.items()
        ]
        files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
        path = house / f"{name}-1.0-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[Path], Path]:
    def extract(charm: Path) -> Path:
        CharmFile.open(charm).extract(tmp_path / "charm")
        return tmp_path / "charm"

    return extract


def test_what_is_packed_runs(workspace, unpacked):
    packed = workspace.pack()
    assert (packed.name, packed.path, packed.changed) == ("tiny", workspace.output, True)
    charm = unpacked(packed.path)
    done = subprocess.run([charm / "dispatch"], cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["42", "helper", "wheelhouse", "0.1.0", f"{charm}/venv", f"{charm}/src"]
    # It runs as well by a relative path, from where Juju runs it, and the second time.
    done = subprocess.run(["./dispatch"], cwd=charm, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.stdout.startswith("42 helper")


def test_files_that_juju_reads(workspace, unpacked):
    charm = unpacked(workspace.pack().path)
    metadata = yaml.safe_load((charm / "metadata.yaml").read_text())
    assert metadata["name"] == "tiny"
    assert metadata["display-name"] == "Tiny"
    assert metadata["maintainers"] == ["someone"]
    assert metadata["source"] == "https://example.com"
    assert metadata["provides"] == {"web": {"interface": "http"}}
    manifest = yaml.safe_load((charm / "manifest.yaml").read_text())
    assert manifest["bases"][0]["name"] == "ubuntu"
    assert not (charm / "config.yaml").exists()
    assert not (charm / "tests").exists()
    assert (charm / "README.md").is_file()
    assert os.access(charm / "dispatch", os.X_OK)


def test_bytecode_is_never_checked_against_its_source(workspace, unpacked):
    charm = unpacked(workspace.pack().path)
    compiled = list(charm.rglob("*.pyc"))
    assert {path.name.split(".")[0] for path in compiled} >= {"charm", "helper", "wheelhouse", "__init__"}
    for path in compiled:
        # PEP 552: bit 0 says that it is valid by hash, bit 1 that the source is to be checked.
        assert int.from_bytes(path.read_bytes()[4:8], "little") == 0b01
        assert ".cpython-38." not in path.name
        assert str(workspace.root).encode() not in path.read_bytes()


def test_unchanged_input_is_not_packed_again(workspace):
    first = workspace.pack()
    before = workspace.output.stat()
    assert workspace.pack() == type(first)("tiny", workspace.output, changed=False)
    assert workspace.output.stat() == before
    os.utime(workspace.folder / "src/charm.py")
    (workspace.folder / "tests/test_charm.py").write_text("# changed\n")
    assert not workspace.pack().changed


@pytest.mark.parametrize(
    "change",
    [
        lambda workspace: (workspace.folder / "src/helper.py").write_text("NAME = 'other'\n"),
        lambda workspace: (workspace.folder / "src/helper.py").chmod(0o755),
        lambda workspace: (workspace.folder / "src/more.py").write_text(""),
        lambda workspace: (workspace.package / "shared/__init__.py").write_text("ANSWER = 1\n"),
        lambda workspace: workspace.project(dependencies=["wheelhouse"], version="0.2.0"),
        lambda workspace: workspace.requirements.write_text(workspace.requirements.read_text() + "# note\n"),
        lambda workspace: (workspace.folder / "README.md").write_text("# other\n"),
        lambda workspace: workspace.output.write_bytes(b"damaged"),
    ],
)
def test_changed_input_is_packed_again(workspace, change):
    workspace.pack()
    change(workspace)
    assert workspace.pack().changed


def test_same_input_gives_the_same_file(workspace, tmp_path):
    first = workspace.pack().path.read_bytes()
    os.utime(workspace.folder / "src/charm.py", (1, 1))
    assert workspace.pack(tmp_path / "again.charm").path.read_bytes() == first


def test_requirements_are_installed_once_for_all_charms(workspace, tmp_path):
    workspace.pack()
    assert [line for line in workspace.said if line.startswith("installing")]
    workspace.said.clear()
    (workspace.folder / "src/helper.py").write_text("NAME = 'other'\n")
    workspace.pack()
    assert workspace.said == []


def test_output_may_be_a_folder(workspace, tmp_path):
    assert workspace.pack(tmp_path / "charms").path == tmp_path / "charms/tiny.charm"


def test_version_is_the_commit_that_touched_the_charm_last(workspace, tmp_path):
    def git(*words: str) -> str:
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    outside = CharmFile.open(workspace.pack().path).version
    assert len(outside) == 12
    git("init", "-q")
    git("add", "charms", "src", "requirements.txt")
    git("commit", "-qm", "charm")
    commit = git("rev-parse", "--short", "HEAD")
    (tmp_path / "elsewhere").write_text("")
    git("add", "elsewhere")
    git("commit", "-qm", "elsewhere")
    workspace.output.unlink()
    assert CharmFile.open(workspace.pack().path).version == commit
    (workspace.folder / "src/helper.py").write_text("NAME = 'other'\n")
    assert CharmFile.open(workspace.pack().path).version == f"{commit}-dirty"


def machine_code(architecture: str) -> bytes:
    """Return the start of a library, as elf(5) has it."""
    number = {"amd64": 62, "arm64": 183}[architecture]
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + number.to_bytes(2, "little")


@pytest.fixture
def compiled(workspace: Workspace) -> Workspace:
    """The same charm, whose requirement holds machine code and has a wheel for each architecture."""
    for path in (workspace.root / "wheels").iterdir():
        path.unlink()
    machines = {"amd64": "x86_64", "arm64": "aarch64"}
    workspace.require(
        *(
            # As new as the C library of machines: a wheel for it is taken.
            workspace.wheel("wheelhouse", f"py3-none-manylinux_{GLIBC}_{machine}", machine_code(architecture))
            for architecture, machine in machines.items()
        )
    )
    return workspace


def test_each_architecture_has_its_own_file(compiled):
    out = compiled.root / "packed"
    out.mkdir()
    for architecture in ("amd64", "arm64"):
        packed = compiled.pack(out, architecture)
        own = architecture == host_architecture()
        assert packed.path == out / ("tiny.charm" if own else f"tiny_{architecture}.charm")
        with zipfile.ZipFile(packed.path) as archive:
            assert archive.read(f"venv/{venv.site_packages()}/wheelhouse_c.so") == machine_code(architecture)
            assert f"venv/{venv.site_packages()}/__pycache__/wheelhouse.{CACHE_TAG}.pyc" in archive.namelist()
        assert CharmFile.open(packed.path).architectures == (architecture,)
        assert not compiled.pack(out, architecture).changed
    # The same file again, for the other architecture.
    assert compiled.pack(architecture=OTHER).changed
    assert compiled.pack().changed


def test_a_wheel_that_isnt_there_for_the_architecture(compiled):
    for path in (compiled.root / "wheels").glob("*" + {"amd64": "x86_64", "arm64": "aarch64"}[OTHER] + "*"):
        path.unlink()
    with pytest.raises(PackError, match=r"requirements.txt: can't be installed"):
        compiled.pack(architecture=OTHER)


def test_machine_code_for_the_wrong_architecture(workspace):
    for path in (workspace.root / "wheels").iterdir():
        path.unlink()
    workspace.require(workspace.wheel("wheelhouse", code=machine_code(host_architecture())))
    with pytest.raises(PackError, match=rf"wheelhouse_c.so: is machine code for .*, not {OTHER}"):
        workspace.pack(architecture=OTHER)
    assert workspace.pack().changed


def test_a_charm_that_isnt_for_the_architecture(workspace):
    workspace.charmcraft(platforms=f"{{{host_architecture()}: }}")
    with pytest.raises(PackError, match=rf"tiny is for {host_architecture()}, by its platforms, not for {OTHER}"):
        workspace.pack(architecture=OTHER)
    workspace.charmcraft(platforms="{amd64: , arm64: , riscv64: }")
    with pytest.raises(PackError, match="can't pack for riscv64: packages come for amd64 and arm64"):
        workspace.pack(architecture="riscv64")


WORKSPACE = """[]
  workspace:
    plugin: dump
    source: ../../src
    organize: {shared/shared: lib/shared, notes.txt: doc/notes.txt}
    stage: [lib, doc/notes.txt, -lib/**/__pycache__]
"""


@pytest.fixture
def dumping(workspace: Workspace) -> Workspace:
    """The same charm, with the shared package as files of a part of its own."""
    (workspace.package.parent / "notes.txt").write_text("notes\n")
    (workspace.package / "shared/__pycache__").mkdir()
    (workspace.package / "shared/__pycache__/old.cpython-38.pyc").write_bytes(b"old")
    (workspace.folder / "src/charm.py").write_text("import shared, wheelhouse\nprint(shared.ANSWER, shared.__file__)\n")
    workspace.charmcraft(packages=WORKSPACE)
    return workspace


def test_dumped_files_are_in_their_places(dumping, unpacked):
    charm = unpacked(dumping.pack().path)
    done = subprocess.run([charm / "dispatch"], cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["42", f"{charm}/lib/shared/__init__.py"]
    assert (charm / "doc/notes.txt").read_text() == "notes\n"
    assert not (charm / "lib/shared/__pycache__/old.cpython-38.pyc").exists()
    assert not (charm / "shared").exists()


@pytest.mark.parametrize("name", ["shared/shared/__init__.py", "notes.txt"])
def test_a_changed_dumped_file_is_packed_again(dumping, name):
    dumping.pack()
    assert not dumping.pack().changed
    path = dumping.package.parent / name
    path.write_text(path.read_text() + "# more\n")
    assert dumping.pack().changed


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ("shared/shared:", "shared/nope:", "no such file: .*/src/shared/nope"),
        ("doc/notes.txt,", "doc/other.txt,", "charmcraft.yaml:20: no such file"),
        ("shared/shared:", "'*/shared':", "plain paths below"),
        ("lib/shared,", "../lib/shared,", "plain paths below"),
        ("lib/shared,", "3,", "organize.shared/shared: must be a path"),
        ("organize: {shared/shared: lib/shared, notes.txt: doc/notes.txt}", "organize: [3]", "must be a mapping"),
        ("stage: [lib, doc/notes.txt, -lib/**/__pycache__]", "stage: [3]", "stage: must be paths"),
        ("stage: [lib, doc/notes.txt, -lib/**/__pycache__]", "", "stage: must list what is taken"),
        ("-lib/**/__pycache__", "-lib/**/secret.py", "leaves out __pycache__, nothing else"),
        ("source: ../../src", "", "source: must be a path"),
        ("source: ../../src", "source: ../../src\n    prime: [lib]", "doesn't know the key"),
    ],
)
def test_a_part_of_the_dump_plugin_that_is_wrong_is_refused(dumping, was, becomes, words):
    assert was in WORKSPACE
    dumping.charmcraft(packages=WORKSPACE.replace(was, becomes))
    with pytest.raises(PackError, match=words):
        dumping.pack()


def test_what_a_dumped_package_needs_must_be_packed_too(dumping):
    dumping.project(dependencies=["absent"])
    with pytest.raises(PackError, match=r"charmcraft.yaml:19: shared needs absent"):
        dumping.pack()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w.charmcraft(requirements="[nope.txt]"), "charmcraft.yaml:14: no such file"),
        (lambda w: w.charmcraft(requirements="nope.txt"), "parts.charm.python-requirements: must be a list"),
        (lambda w: w.charmcraft(packages="[3]"), "parts.charm.python-packages: must be paths"),
        (lambda w: w.charmcraft(packages="[ops]"), "has no pyproject.toml"),
        (lambda w: w.charmcraft(packages="[]\n    python-keep-bins: true"), "doesn't know the key"),
        (lambda w: w.charmcraft(packages="[]\n  other:\n    plugin: uv"), "one part of the plugin 'python'"),
        (lambda w: w.project(dependencies=["absent"]), "shared needs absent"),
        (lambda w: (w.package / "pyproject.toml").write_text("[project]\n"), "needs .project. with a name"),
        (lambda w: (w.package / "shared/__init__.py").unlink(), "has no __init__.py"),
        (lambda w: (w.folder / "src/charm.py").unlink(), "src/charm.py: is missing"),
        (lambda w: (w.folder / "src/helper.py").write_text("def"), "can't compile"),
        (lambda w: w.requirements.write_text("wheelhouse==1.0\n"), "can't be installed"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_left(workspace, spoil, words):
    spoil(workspace)
    with pytest.raises(PackError, match=words):
        workspace.pack()
    assert not workspace.output.exists()
    assert not list(workspace.root.glob("out/.*"))
    assert not [path for path in workspace.cache.glob("*") if path.name.startswith("new-")]


def test_no_such_folder(tmp_path):
    with pytest.raises(PackError, match="no such folder"):
        pack(tmp_path / "nope", tmp_path, tmp_path, print)


def test_output_that_cannot_be_written(workspace, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x.charm").mkdir()
    (tmp_path / "full/x.charm/tiny.charm").mkdir()
    with pytest.raises(PackError, match="can't be written"):
        workspace.pack(tmp_path / "full/x.charm")


def test_no_python(monkeypatch):
    monkeypatch.setattr(venv, "PYTHON", Path("/nonexistent/python3"))
    venv.python.cache_clear()
    with pytest.raises(PackError, match="install the package python3"):
        venv.python()
    venv.python.cache_clear()
