"""Users, packages and Java: what the functions ask of the libraries that change the machine."""

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest
from charmlibs import apt

from iot_charm import java, packages, users


class Apt:
    def __init__(self, *installed: str, stale: bool = False) -> None:
        self.installed, self.stale, self.calls = set(installed), stale, []

    PackageError, PackageNotFoundError = apt.PackageError, apt.PackageNotFoundError

    class DebianPackage:
        @staticmethod
        def from_installed_package(name: str) -> None: ...

    def add_package(self, names: list[str], *, update_cache: bool = False) -> None:
        self.calls.append((names, update_cache))
        if self.stale and not update_cache:
            raise apt.PackageError("404 Not Found")
        self.installed.update(names)


@pytest.fixture
def use_apt(monkeypatch: pytest.MonkeyPatch):
    def use(fake: Apt) -> Apt:
        def from_installed_package(name: str) -> None:
            if name not in fake.installed:
                raise apt.PackageNotFoundError(name)

        monkeypatch.setattr(fake.DebianPackage, "from_installed_package", staticmethod(from_installed_package))
        monkeypatch.setattr(packages, "apt", fake)
        return fake

    return use


def test_only_missing_packages_are_installed(use_apt):
    fake = use_apt(Apt("here"))
    assert packages.ensure_packages("here", "there")
    assert fake.calls == [(["there"], False)]
    assert not packages.ensure_packages("here", "there")
    assert len(fake.calls) == 1


def test_stale_lists_are_refreshed_once(use_apt):
    fake = use_apt(Apt(stale=True))
    assert packages.ensure_packages("there")
    assert fake.calls == [(["there"], False), (["there"], True)]


def test_the_real_dpkg_is_asked():
    assert not packages.ensure_packages("bash")


def test_java_home(use_apt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    fake = use_apt(Apt())
    monkeypatch.setattr(java, "JVM_DIRECTORY", tmp_path)
    with pytest.raises(FileNotFoundError, match="java-17-openjdk"):
        java.ensure_java()
    assert fake.installed == {"openjdk-17-jre-headless"}
    program = tmp_path / "java-17-openjdk-arm64" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.touch()
    assert java.ensure_java() == tmp_path / "java-17-openjdk-arm64"


NAME = f"iottest{os.getpid()}"


@pytest.fixture
def no_user():
    yield
    for command, name in (("userdel", NAME), ("groupdel", NAME), ("groupdel", f"{NAME}x")):
        subprocess.run([command, name], capture_output=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a user, which root alone may")
@pytest.mark.usefixtures("no_user")
def test_a_system_user_is_made_once(tmp_path: Path):
    home = tmp_path / "home"
    assert users.ensure_system_user(NAME, home=home, groups=[f"{NAME}x"])
    user = pwd.getpwnam(NAME)
    assert (user.pw_dir, user.pw_shell) == (str(home), "/usr/sbin/nologin")
    assert user.pw_uid < 1000
    assert (home.owner(), home.group()) == (NAME, NAME)
    assert NAME in grp.getgrnam(f"{NAME}x").gr_mem
    assert not users.ensure_system_user(NAME, home=home, groups=[f"{NAME}x"])
