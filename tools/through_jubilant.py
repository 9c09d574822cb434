"""The chain's steps through jubilant: with `juju`, or with tabletop in its place."""

import time
from collections.abc import Callable

import jubilant
from chain import WAIT_S, Result, Run, Step


def run_with(juju: jubilant.Juju) -> Run:
    """Run steps through `juju`."""

    def run(step: Step[Result], /) -> Result:
        return step.read(juju.run(step.unit, step.action, dict(step.params), wait=WAIT_S).results)

    return run


def problems(status: jubilant.Status) -> dict[str, str]:
    """Return what is not active yet: unit or application name -> its status and message."""
    waiting: dict[str, str] = {}
    for name, app in status.apps.items():
        if not app.units:
            waiting[name] = "no unit yet"
        for unit_name, unit in app.units.items():
            if not unit.is_active:
                workload = unit.workload_status
                waiting[unit_name] = f"{workload.current}: {workload.message}".rstrip(": ")
    return waiting


def wait_until_active(
    juju: jubilant.Juju, *, timeout_s: float = 1200, progress: Callable[[str], None] = print
) -> jubilant.Status:
    """Wait until every unit of the model is active, reporting each change.

    Raises:
        TimeoutError: with what is still missing.
    """
    deadline = time.monotonic() + timeout_s
    shown: dict[str, str] = {}
    while True:
        status = juju.status()
        now = problems(status)
        for name in sorted(shown.keys() - now.keys()):
            progress(f"{name}: active")
        for name, text in sorted(now.items()):
            if shown.get(name) != text:
                progress(f"{name}: {text}")
        shown = now
        if status.apps and not now:
            return status
        if time.monotonic() > deadline:
            missing = "; ".join(f"{name} {text}" for name, text in sorted(now.items()))
            raise TimeoutError(f"not active after {timeout_s:.0f} s: {missing}")
        time.sleep(1)
