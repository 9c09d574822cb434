"""Whatever the interleaving of commands and hooks, a model keeps Juju's rules and settles."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test
from stateful import THOROUGH, stateful
from talkers import Talkers
from world import World, making_world

from tabletop.engine.model import Settings


class Interleavings(Talkers):
    """The engine in this process."""

    settings = Settings(retry_first=0.02, retry_max=0.1, machine_poll=0.1, juju_directory=None)

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._world: World = self._stack.enter_context(making_world(self.settings))
        self.directory = self._world.directory
        (self.directory / "orders").mkdir()

    def call(self, method: str, **params: Any) -> Any:
        return getattr(self._world.controller, method)(**params)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(autouse=True)
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    with capsys.disabled():
        print(f"\n{Interleavings.told()}")


@pytest.mark.timeout(0 if THOROUGH else 600)
def test_whatever_the_interleaving_the_model_keeps_the_rules_and_settles() -> None:
    run_state_machine_as_test(Interleavings, settings=stateful(8, 15))
