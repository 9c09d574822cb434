"""What the host is asked for before programs of another architecture run on it, on a kernel made of files."""

from pathlib import Path

import pytest

from tabletop import emulation
from tabletop.emulation import check_architecture, ensure_emulation, is_emulated
from tabletop.errors import TabletopError
from tabletop.version import host_architecture

FOREIGN = "arm64" if host_architecture() == "amd64" else "amd64"
NAME = "qemu-aarch64" if FOREIGN == "arm64" else "qemu-x86_64"
WORKS = "enabled\ninterpreter /usr/libexec/qemu-binfmt/some-binfmt-P\nflags: POF\noffset 0\n"


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A mounted binfmt_misc: what is written to `register` stays there, no entry appears."""
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/register").touch()
    return tmp_path / "kernel"


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    directory = tmp_path / "binfmt.d"
    directory.mkdir()
    (directory / f"{NAME}.conf").write_text(f"# a remark\n:{NAME}:M::magic:mask:/usr/bin/qemu:OPF\n")
    return directory


def test_the_hosts_own_architecture_needs_nothing(tmp_path):
    assert not is_emulated(host_architecture())
    ensure_emulation(host_architecture(), kernel=tmp_path, definitions=tmp_path)


def test_an_unknown_architecture():
    with pytest.raises(TabletopError, match="arch=vax: machines are amd64 or arm64"):
        check_architecture("vax")


def test_what_is_registered_already_is_left_alone(kernel, definitions):
    (kernel / NAME).write_text(WORKS)
    ensure_emulation(FOREIGN, kernel=kernel, definitions=definitions)
    assert (kernel / "register").read_text() == ""


def test_the_distributions_definition_is_registered(kernel, definitions, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(emulation, "_check_entry", lambda *_: None)
    ensure_emulation(FOREIGN, said.append, kernel=kernel, definitions=definitions)
    assert (kernel / "register").read_text() == f":{NAME}:M::magic:mask:/usr/bin/qemu:OPF"
    assert FOREIGN in said[0]


def test_missing_packages_are_named(kernel, tmp_path):
    with pytest.raises(TabletopError, match=rf"qemu-user-static arch-test .*bootstrap --arch {FOREIGN}"):
        ensure_emulation(FOREIGN, kernel=kernel, definitions=tmp_path)


@pytest.mark.parametrize("entry", [WORKS.replace("POF", "PO"), WORKS.replace("enabled", "disabled"), ""])
def test_an_entry_that_containers_cannot_use(entry, kernel, definitions):
    (kernel / NAME).write_text(entry)
    with pytest.raises(TabletopError, match=rf"echo -1 > {kernel}/{NAME}"):
        ensure_emulation(FOREIGN, kernel=kernel, definitions=definitions)


def test_a_kernel_without_binfmt_misc(tmp_path, definitions):
    """The mount point isn't there; nor would it be in a container that may not mount."""
    with pytest.raises(TabletopError, match="modprobe binfmt_misc"):
        ensure_emulation(FOREIGN, kernel=tmp_path / "absent", definitions=definitions)
