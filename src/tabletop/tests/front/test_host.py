"""Preparing this machine and leaving it as it was; the work itself is replaced, for the machines' own tests do it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tabletop.settings import image_packages
from tabletop.version import host_architecture


@pytest.fixture
def host(home, monkeypatch) -> SimpleNamespace:
    """The host as bootstrap and destroy meet it; what they did is noted."""
    done = SimpleNamespace(
        missing=[],
        images=[],
        wanted=[],
        emulated=[],
        advice=None,
        removed=["machine m-0", "bridge tabletop"],
        started=True,
        pruned=[],
    )

    def missing_packages(packages):
        done.wanted.append(list(packages))
        return done.missing

    monkeypatch.setattr("tabletop.host.missing_packages", missing_packages)
    monkeypatch.setattr("tabletop.emulation.ensure_emulation", lambda arch, progress: done.emulated.append(arch))
    monkeypatch.setattr("tabletop.host.preflight", lambda paths: None)
    monkeypatch.setattr("tabletop.host.firewall_advice", lambda paths: done.advice)
    monkeypatch.setattr("tabletop.host.teardown", lambda paths: list(done.removed))

    def ensure_image(paths, *, include=(), architecture=None, progress):
        progress("building")
        done.images.append(tuple(include))
        return SimpleNamespace(name=f"image-{architecture or 1}")

    monkeypatch.setattr("tabletop.image.ensure_image", ensure_image)
    monkeypatch.setattr("tabletop.image_store.prune_images", lambda paths: done.pruned)
    monkeypatch.setattr("tabletop.client.Client.start", lambda self: done.started)
    return done


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """An apt-get that notes its arguments, and fails if told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "apt-get"
    script.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/apt\n[ -e {tmp_path}/fail ] && echo "E: broken" >&2 && exit 100\nexit 0\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path


def test_bootstrap(run, host, home):
    status, out, err = run("bootstrap", "--include", "jq,git", "--include", "curl")
    assert (status, out) == (0, "")
    assert err.splitlines() == ["building", "base image image-1 with curl, git, jq", "daemon started"]
    assert host.images == [("curl", "git", "jq")]
    assert (home / "state/image-packages").read_text().split() == ["curl", "git", "jq"]
    host.started = False
    host.advice = "The host's firewall drops."
    status, _, err = run("bootstrap", "localhost", "tabletop", "--no-switch", "--config", "a=b")
    assert status == 0
    assert host.images[1] == ("curl", "git", "jq")
    assert "WARNING The host's firewall drops." in err
    assert err.endswith("daemon runs already\n")
    run("bootstrap", "--include", "")
    assert host.images[2] == ()


def test_bootstrap_for_another_architecture(run, host):
    own, other = ("arm64", "amd64") if host_architecture() == "arm64" else ("amd64", "arm64")
    run("bootstrap", "--arch", own)
    assert host.emulated == []
    assert "qemu-user-static" not in host.wanted[0]
    status, _, err = run("bootstrap", "--include", "jq", "--arch", other, "--arch", own, "--arch", other)
    assert status == 0
    assert host.emulated == [other]
    assert "qemu-user-static" in host.wanted[1]
    assert host.images[1:] == [("jq",), ()]
    assert f"base image image-{other}" in err
    assert run("bootstrap", "--arch", "vax")[0] == 2


def test_bootstrap_installs_what_is_missing(run, host, apt):
    host.missing = ["nftables", "odd"]
    _, _, err = run("bootstrap")
    assert "  nftables: lets them reach the network\n  odd: is needed\n" in err
    assert [line.partition("300 ")[2] for line in (apt / "apt").read_text().splitlines()] == [
        "update -q",
        "install -y -q --no-install-recommends nftables odd",
    ]
    (apt / "fail").touch()
    assert run("bootstrap")[2].endswith("ERROR apt-get update failed: E: broken\n")


def test_images_that_nothing_uses_are_removed(run, host, home):
    host.pruned = [("bookworm-amd64-0123456789ab-20260101", 412_000_000)]
    for words in (["bootstrap"], ["destroy", "-y"], ["images", "--prune"]):
        _, out, err = run(*words)
        assert out == ""
        assert "removed base image bookworm-amd64-0123456789ab-20260101, which nothing uses: 412 MB\n" in err
    host.removed, host.pruned = [], []
    assert run("destroy", "-y")[2] == "there was nothing to remove\n"


@pytest.mark.parametrize("words", [["bootstrap"], ["destroy", "--no-prompt"]])
def test_not_root(run, host, monkeypatch, words):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, _, err = run(*words)
    assert status == 1
    assert "must run as root: sudo " in err
    assert host.images == []


def test_destroy_without_a_daemon(run, host, home):
    (home / "state").mkdir()
    (home / "state/models").touch()
    status, _, err = run("destroy", "--no-prompt")
    assert status == 0
    assert err.splitlines() == [
        "removed machine m-0",
        "removed bridge tabletop",
        f"removed {home}/state",
        f"nothing is left; the cache stays in {home}/cache",
    ]
    assert not (home / "state").exists()
    host.removed = []
    assert run("kill", "-y")[2] == "there was nothing to remove\n"


def test_destroy_asks_first(run, host, home):
    (home / "state").mkdir()
    status, _, err = run("destroy")
    assert status == 1
    assert "This removes all models" in err
    assert (home / "state").exists()


class Process:
    """A process that stands for the daemon; on `shutdown` it ends, or not."""

    def __init__(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    def end(self) -> None:
        self.child.kill()
        self.child.wait()


@pytest.fixture
def process():
    found = Process()
    yield found
    found.end()


def test_destroy_stops_the_daemon_first(run, host, daemon, process):
    daemon.answers["ping"] = {"version": "1", "pid": process.child.pid}
    daemon.answers["shutdown"] = lambda: process.end()
    assert run("destroy", "-y")[2].startswith("removed the daemon\n")


def test_a_daemon_that_does_not_end_is_killed(run, host, daemon, process, monkeypatch):
    monkeypatch.setattr("tabletop.commands.host._STOP_TIMEOUT_S", 0.1)
    daemon.answers["ping"] = {"version": "1", "pid": process.child.pid}
    assert "it is killed" in run("daemon", "stop")[2]
    assert process.child.wait() == -signal.SIGKILL


def test_daemon_words(run, host, daemon, home, monkeypatch):
    status, out, _ = run("daemon")
    assert status == 0
    assert f"state: {home}/state" in out
    assert "pid: 1" in out
    assert run("daemon", "start")[2] == "daemon started\n"
    host.started = False
    assert run("daemon", "start")[2] == "daemon runs already\n"
    monkeypatch.setattr("tabletop.client.Client.running", lambda self: False)
    assert run("daemon", "status") == (1, "no daemon runs\n", "")
    assert run("daemon", "stop")[2] == "no daemon runs\n"


def test_another_set_of_packages_restarts_the_daemon(run, host, daemon, process):
    daemon.answers["ping"] = {"version": "1", "pid": process.child.pid}
    daemon.answers["shutdown"] = lambda: process.end()
    assert run("bootstrap", "--include", "jq")[2].endswith("daemon restarted\n")


def test_settings_of_a_new_tabletop():
    assert image_packages(SimpleNamespace(state=Path("/nonexistent"))) == ()
