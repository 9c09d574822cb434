"""What the model tests share. The model and its life cycle are pytest-jubilant's (see README.md)."""

from collections.abc import Callable, Generator

import jubilant
import pytest
import through_jubilant
from chain import Run

LOG_LINES = 200


@pytest.fixture
def run(juju: jubilant.Juju) -> Run:
    """Runs the chain's steps in the model."""
    return through_jubilant.run_with(juju)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the model's status and the end of its log with a failed test."""
    report = yield
    juju = item.funcargs.get("juju")
    if report.failed and isinstance(juju, jubilant.Juju):
        report.sections += [
            ("juju status", told(lambda: juju.cli("status", "--relations"))),
            ("juju debug-log", told(lambda: juju.debug_log(limit=LOG_LINES))),
        ]
    return report


def told(ask: Callable[[], str]) -> str:
    """Return what the client says, or why it says nothing."""
    try:
        return ask()
    except jubilant.CLIError as error:
        return f"{error}: {error.stderr}"
