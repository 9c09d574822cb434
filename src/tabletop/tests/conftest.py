"""Profiles of hypothesis, and an orderly end.

What `pytest` does by default is quick; `--hypothesis-profile=thorough` takes its time.
"""

import signal
from typing import NoReturn

import pytest
from hypothesis import settings

settings.register_profile("thorough", max_examples=60, stateful_step_count=50, print_blob=True)


def pytest_configure() -> None:
    """Let what ends a run, such as `timeout`, not keep fixtures from clearing up."""

    def leave(number: int, _frame: object) -> NoReturn:
        pytest.exit(f"ended by signal {number}", 128 + number)

    signal.signal(signal.SIGTERM, leave)
