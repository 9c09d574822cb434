"""`make up` deploys what is missing, waits for what isn't active yet, and proves what was never proven."""

import json
from pathlib import Path

import chain
import pytest
import up

PROGRAM = """#!/bin/sh
echo "$*" >>"$0.words"
case "$1" in
models) cat "$0.models" ;;
add-model) echo '{"models": [{"short-name": "iot"}]}' >"$0.models" ;;
status)
    cat "$0.status"
    if [ -e "$0.later" ] && [ "$(grep -c ^status "$0.words")" -ge 2 ]; then mv "$0.later" "$0.status"; fi
    ;;
deploy)
    if [ -e "$0.deployed" ]; then mv "$0.deployed" "$0.status"; fi
    if [ -e "$0.broken" ]; then rm "$0.broken" && exit 1; fi
    ;;
esac
"""


class Tabletop:
    """A tabletop that notes its words, and whose model is what is in files beside it."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self.proofs = 0
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self._write("models", {"models": [{"short-name": "iot"}]})

    def has(self, *, when: str = "status", without: str = "", related: bool = True, **units: str) -> None:
        """Have the applications in the model, each with an active unit but for those whose status is given.

        Args:
            when: now (`status`), after it was asked for twice (`later`), or once the bundle is deployed (`deployed`).
            without: the application that is missing.
            related: whether the gateway is.
            units: statuses of the applications' units.
        """
        relations = {"amqp": [{"related-application": "rabbitmq"}]}
        applications = {
            name: {
                "charm": name,
                "charm-origin": "local",
                "charm-name": name,
                "charm-rev": 0,
                "exposed": False,
                "units": {f"{name}/0": {"workload-status": {"current": units.get(name, "active"), "message": "it"}}},
                "relations": relations if name == "gateway" and related else {},
            }
            for name in chain.APPLICATIONS
            if name != without
        }
        model = {"name": "iot", "type": "iaas", "controller": "tabletop", "cloud": "tabletop", "version": "3.6"}
        self._write(when, {"model": model, "machines": {}, "applications": applications})

    def has_no_model(self) -> None:
        """Have no model until one is added."""
        self._write("models", {"models": []})

    def breaks_deployment_off(self) -> None:
        """Have the next deployment fail when it has done its work."""
        self._write("broken", None)

    def words(self, command: str) -> int:
        """Count the runs of a command."""
        said = self._program.with_name("tabletop.words").read_text().splitlines()
        return sum(line.split()[0] == command for line in said)

    def prove(self, count: int, seed: int) -> dict[str, object]:
        """Take the place of `up.prove`."""
        self.proofs += 1
        return {"sent": count, "page": "/a/page"}

    def _write(self, name: str, content: object) -> None:
        self._program.with_name(f"tabletop.{name}").write_text(json.dumps(content))


@pytest.fixture
def tabletop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tabletop:
    made = Tabletop(tmp_path / "tabletop")
    monkeypatch.setattr(up, "TABLETOP", tmp_path / "tabletop")
    monkeypatch.setattr(up, "BUILD", tmp_path)
    monkeypatch.setattr(up, "RESULT", tmp_path / "up.json")
    monkeypatch.setattr(up, "build", lambda: None)
    monkeypatch.setattr(up, "prove", made.prove)
    return made


@pytest.fixture
def proven(tabletop: Tabletop) -> Tabletop:
    up.RESULT.write_text("{}")
    return tabletop


def test_all_is_deployed_and_proven_where_there_is_nothing(tabletop: Tabletop):
    tabletop.has_no_model()
    tabletop.has(when="deployed")
    up.up(10, 1)
    assert (tabletop.words("add-model"), tabletop.words("deploy"), tabletop.proofs) == (1, 1, 1)
    assert json.loads(up.RESULT.read_text())["sent"] == 10


def test_nothing_is_changed_where_all_is_active_and_proven(proven: Tabletop, capsys: pytest.CaptureFixture[str]):
    proven.has()
    up.up(10, 1)
    assert (proven.words("deploy"), proven.proofs) == (0, 0)
    assert "already up; nothing was changed" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["waiting", "maintenance"])
def test_a_unit_that_just_waits_is_waited_for(proven: Tabletop, status: str, capsys: pytest.CaptureFixture[str]):
    proven.has(gateway=status)
    proven.has(when="later")
    up.up(10, 1)
    assert (proven.words("deploy"), proven.proofs) == (0, 0)
    said = capsys.readouterr().out
    assert said.index(f"gateway/0: {status}: it") < said.index("gateway/0: active") < said.index("already up")


def test_what_was_never_proven_is_proven(tabletop: Tabletop):
    tabletop.has()
    up.up(10, 1)
    assert tabletop.proofs == 1
    up.up(10, 1)
    assert tabletop.proofs == 1


def test_what_is_blocked_is_deployed_in_case_something_is_missing_and_not_proven_again_if_not(proven: Tabletop):
    proven.has(gateway="blocked")
    proven.has(when="deployed")
    up.up(10, 1)
    assert (proven.words("deploy"), proven.proofs) == (1, 0)
    assert up.RESULT.read_text() == "{}"


@pytest.mark.parametrize(("without", "related"), [("zeppelin", True), ("", False)])
def test_what_had_to_be_deployed_anew_is_proven(proven: Tabletop, without: str, related: bool):
    proven.has(without=without, related=related, gateway="active" if related else "blocked")
    proven.has(when="deployed")
    up.up(10, 1)
    assert (proven.words("deploy"), proven.proofs) == (1, 1)


def test_after_a_deployment_that_was_broken_off_it_is_proven(proven: Tabletop):
    proven.has(without="zeppelin")
    proven.has(when="deployed")
    proven.breaks_deployment_off()
    with pytest.raises(up.UpError, match="deploy failed"):
        up.up(10, 1)
    up.up(10, 1)
    assert proven.proofs == 1
