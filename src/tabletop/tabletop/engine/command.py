"""What surrounds an operator's command: who waits for it, and that one runs at a time on a model."""

from collections.abc import Callable

from tabletop.engine.engine import ModelRunner
from tabletop.engine.model import Model


class Call:
    """One request: where its progress goes, and whether somebody still waits for its answer."""

    def __init__(
        self, progress: Callable[[str], None] = lambda _: None, alive: Callable[[], bool] = lambda: True
    ) -> None:
        self.progress = progress
        self.alive = alive


class Change:
    """One command on a model at a time; new units and machines get their agents when it is over."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner

    def __enter__(self) -> Model:
        """Wait for the command before this one to end."""
        self._runner.model.command_lock.acquire()
        return self._runner.model

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Start what the command has brought, unless it failed."""
        try:
            if kind is None:
                self._runner.update()
        finally:
            self._runner.model.command_lock.release()
