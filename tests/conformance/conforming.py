"""What the conformance charm has to show, whatever runs it: an engine without machines, real machines, a controller."""

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from ops import hookcmds

CHARM = Path(__file__).parent / "charm"
FUNCTIONS = sorted(name for name in hookcmds.__all__ if inspect.isfunction(getattr(hookcmds, name)))
UNITS = ("left/0", "left/1", "right/0")
REACHED_BY_OTHER_ACTIONS = frozenset({"action_fail", "juju_reboot"})
"""Succeed only where a check can't be: at the end of an action, and in a hook."""

OVERREACHES: Mapping[str, str] = {
    "storage-unknown": 'adding "attic" storage to left/0: charm storage "attic" not found',
    "storage-too-much": 'adding "data" storage to left/0: attaching 9 storage instances brings the total to ',
    "port-of-no-endpoint": 'open port range: endpoint "attic" for unit "left/0" not found',
    "secret-missing": 'secret "9m4e2mr0ui3e8a215n4g" not found',
    "secret-of-another": "permission denied",
    "secret-removed-by-another": "permission denied",
    "secret-revoked-by-another": "permission denied",
    "secret-label-taken": 'secret with label "kept" already exists',
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How an action ended."""

    status: str
    message: str
    results: Mapping[str, Any]
    log: Sequence[str]


class Driver(Protocol):
    """What the tests need of the side that runs the charm: `left` (two units) and `right`, related and prepared."""

    def act(self, unit: str, action: str, **params: Any) -> Ended:
        """Run an action to its end."""
        ...

    def configure(self, app: str, **values: str) -> None:
        """Set options, and wait until all is idle."""
        ...

    def settle(self) -> None:
        """Wait until all is idle."""
        ...

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something holds; return what it is."""
        ...

    def rewind(self, secret_id: str) -> None:
        """Let a secret be due for its rotation now."""
        ...


def prepare(driver: Driver) -> None:
    """Make the secrets and databags that the checks look for."""
    for unit in UNITS:
        ended = driver.act(unit, "prepare")
        assert ended.status == "completed", ended
    driver.settle()


def report(driver: Driver, unit: str) -> dict[str, Any]:
    """Run all checks of a unit; return its report, in which every one must be fine."""
    ended = driver.act(unit, "check")
    found: dict[str, Any] = json.loads(ended.results["report"])
    wrong = {name: said for name, said in found["checks"].items() if said != "ok"}
    assert not wrong, "\n".join(f"{unit} {name}: {said}" for name, said in wrong.items())
    assert ended.status == "completed", ended
    assert ended.results["nested"] == {"one": "1", "two": {"three": "3"}}
    assert ended.results["flat"] == "x=y"
    assert any("-a line with a dash" in line for line in ended.log), ended.log
    driver.settle()
    return found


def starts(driver: Driver) -> int:
    """Return how often the machine of `right/0` has been started, as its charm was told."""
    return hooks(driver).count("start")


def hooks(driver: Driver) -> list[str]:
    """Return the hooks of `right/0`."""
    return [note["hook"] for note in seen(driver, "right/0")]


def seen(driver: Driver, unit: str) -> list[dict[str, Any]]:
    """Return the notes that a unit's hooks took."""
    ended = driver.act(unit, "seen")
    found: list[dict[str, Any]] = json.loads(ended.results["report"])
    return found


class Conformance:
    """The tests; whoever runs them has a fixture `driver` in its module."""

    @pytest.fixture(scope="class")
    @classmethod
    def reports(cls, driver: Driver) -> list[dict[str, Any]]:
        return [report(driver, unit) for unit in UNITS]

    def test_every_check_of_each_role_is_fine(self, reports: list[dict[str, Any]]) -> None:
        assert [one["role"] for one in reports] == ["leader", "follower", "other"]

    def test_every_function_was_seen_to_succeed_and_to_be_refused(self, reports: list[dict[str, Any]]) -> None:
        succeeded, refused = Counter[str](), Counter[str]()
        for one in reports:
            succeeded.update(one["succeeded"])
            refused.update(one["refused"])
        assert set(FUNCTIONS) - set(refused) == set()
        assert set(FUNCTIONS) - set(succeeded) == REACHED_BY_OTHER_ACTIONS

    def test_an_action_can_fail(self, driver: Driver) -> None:
        """`action-fail` marks an action as failed and keeps what it had set."""
        ended = driver.act("left/0", "fail", message="-not today")
        assert (ended.status, ended.message, ended.results["half"]) == ("failed", "-not today", "done")
        ended = driver.act("left/0", "fail")
        assert ended.message == "action failed without reason given, check action for errors"

    @pytest.mark.parametrize("what", OVERREACHES)
    def test_an_overreach_is_refused_when_the_action_has_ended(self, driver: Driver, what: str) -> None:
        """It makes the action fail, which says why on its standard error."""
        ended = driver.act("left/0", "overreach", what=what)
        assert (ended.status, ended.message) == ("failed", "committing requested changes failed")
        assert OVERREACHES[what] in ended.results["stderr"]
        assert ended.results["return-code"] == 1
        assert ended.results["accepted"] == "yes"

    def test_what_hooks_see(self, driver: Driver) -> None:
        """Hook commands find a hook's own relation and storage, and no action."""
        notes = seen(driver, "left/0")
        assert {note["action"] for note in notes if "action" in note} == {"ERROR not running an action"}
        storage = next(note for note in notes if note["hook"] == "data-storage-attached")
        assert storage["storage_id"] == "data/0"
        assert storage["storage"][0] == "filesystem"
        changed = next(note for note in notes if note["hook"] == "out-relation-changed")
        assert (changed["app"], changed["remote_app"], changed["list"]) == ("right", "right", ["right/0"])
        assert "ingress-address" in changed["data"] or "who" in changed["data"]
        created = next(note for note in notes if note["hook"] == "out-relation-created")
        assert (created["list"], created["data"]) == ([], {})

    def test_a_secret_expires(self, driver: Driver) -> None:
        """Its owner is told, who removes its revision, and so the secret."""
        ended = driver.act("left/1", "add-secret", expire="2s", label="short")
        assert ended.status == "completed", ended
        driver.until(lambda: [note for note in seen(driver, "left/1") if note["hook"] == "secret-expired"])
        (note,) = [note for note in seen(driver, "left/1") if note["hook"] == "secret-expired"]
        assert note["secret_id"].rpartition(":")[2] == ended.results["id"].rpartition("/")[2]
        assert (note["secret_label"], note["secret_revision"]) == ("short", "1")

    def test_a_secret_is_rotated(self, driver: Driver) -> None:
        """Its owner is told, who makes a new revision; the old one is then obsolete."""
        ended = driver.act("left/1", "add-secret", rotate="hourly", label="turning")
        driver.rewind(ended.results["id"].rpartition("/")[2])
        driver.until(lambda: [note for note in seen(driver, "left/1") if note["hook"] == "secret-rotate"])
        driver.until(lambda: [note for note in seen(driver, "left/1") if note["hook"] == "secret-remove"])
        obsolete = next(note for note in seen(driver, "left/1") if note["hook"] == "secret-remove")
        assert (obsolete["secret_label"], obsolete["secret_revision"]) == ("turning", "1")

    def test_a_charm_restarts_its_machine(self, driver: Driver) -> None:
        """`juju-reboot` does so after the hook; with `--now` the hook ends at once and runs again later."""
        driver.configure("right", reboot="later")
        driver.until(lambda: starts(driver) == 2)
        assert "after juju-reboot later" in hooks(driver)
        driver.configure("right", reboot="now")
        driver.until(lambda: starts(driver) == 3)
        driver.settle()
        later = hooks(driver)[hooks(driver).index("after juju-reboot later") :]
        assert "after juju-reboot now" not in later, "the hook went on"
        assert later.count("config-changed") == 2, "it ran once, was cut short, and ran again"
