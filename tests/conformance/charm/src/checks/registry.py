"""Which checks there are, for whom, what they call, and how they are run."""

import functools
import inspect
import os
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ops
from ops import hookcmds

from state import Place, Role

FUNCTIONS = tuple(name for name in hookcmds.__all__ if inspect.isfunction(getattr(hookcmds, name)))
EVERYBODY: tuple[Role, ...] = ("leader", "follower", "other")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a check works with."""

    charm: ops.CharmBase
    place: Place
    event: ops.ActionEvent

    @property
    def model(self) -> ops.Model:
        """The charm's model."""
        return self.charm.model


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it calls of `ops.hookcmds`, and the roles of the units that run it."""

    name: str
    covers: tuple[str, ...]
    roles: tuple[Role, ...]
    run: Callable[[Setting], None]


CHECKS: dict[str, Check] = {}


def check(
    *covers: str, roles: tuple[Role, ...] = EVERYBODY
) -> Callable[[Callable[[Setting], None]], Callable[[Setting], None]]:
    """Register a function as a check of some functions of `ops.hookcmds`."""

    def register(function: Callable[[Setting], None]) -> Callable[[Setting], None]:
        name = function.__name__.replace("_", "-")
        CHECKS[name] = Check(name, covers, roles, function)
        return function

    return register


def covered() -> set[str]:
    """Return the functions of `ops.hookcmds` that some check calls."""
    return {name for one in CHECKS.values() for name in one.covers}


def refused(text: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> hookcmds.Error:
    """Return the error with which a call is refused; it must hold a text.

    Raises:
        AssertionError: it isn't refused, or with another text.
    """
    try:
        answer = function(*args, **kwargs)
    except hookcmds.Error as error:
        expect(error.stderr.startswith("ERROR "), f"{error.stderr!r} doesn't start with ERROR")
        expect(text in error.stderr, f"expected {text!r}, got {error.stderr!r}")
        return error
    raise AssertionError(f"not refused with {text!r}, but {answer!r}")


def expect(holds: bool, what: str = "") -> None:
    """Demand something.

    Raises:
        AssertionError: it doesn't hold.
    """
    if not holds:
        raise AssertionError(what)


def equal(found: Any, wanted: Any) -> None:
    """Demand that a value is as wanted, in its type too."""
    expect(type(found) is type(wanted) and found == wanted, f"expected {wanted!r}, got {found!r}")


def run(charm: ops.CharmBase, place: Place, event: ops.ActionEvent, wanted: str) -> dict[str, Any]:
    """Run one check, or all that fit the unit; return what each said and how often each function was called."""
    chosen = [one for one in CHECKS.values() if place.role in one.roles] if wanted == "all" else [CHECKS[wanted]]
    succeeded, refusals = Counter[str](), Counter[str]()
    _count(succeeded, refusals)
    said: dict[str, str] = {}
    for one in chosen:
        try:
            one.run(Setting(charm, place, event))
        except Exception:  # noqa: BLE001 - the outermost loop: whatever a check raises is its result
            said[one.name] = traceback.format_exc(limit=-3)
        else:
            said[one.name] = "ok"
    return {"role": place.role, "checks": said, "succeeded": succeeded, "refused": refusals}


def _count(succeeded: Counter[str], refusals: Counter[str]) -> None:
    """Count the calls of each function, also those that `ops.Model` makes."""
    for name in FUNCTIONS:
        setattr(hookcmds, name, _counting(name, getattr(hookcmds, name), succeeded, refusals))


def _counting(
    name: str, function: Callable[..., Any], succeeded: Counter[str], refusals: Counter[str]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = function(*args, **kwargs)
        except hookcmds.Error:
            refusals[name] += 1
            raise
        succeeded[name] += 1
        return answer

    return call


class outside:  # noqa: N801 - reads as a phrase: with outside()
    """As if no hook ran: no context's id in the environment."""

    def __enter__(self) -> None:
        self._id = os.environ.pop("JUJU_CONTEXT_ID")

    def __exit__(self, *_: object) -> None:
        os.environ["JUJU_CONTEXT_ID"] = self._id
