"""What every command needs: the paths, the daemon, and which model is meant."""

import os
from pathlib import Path
from typing import Any

from tabletop.client import Client, root_needed
from tabletop.errors import TabletopError
from tabletop.format import note
from tabletop.paths import Paths
from tabletop.progress import Progress

CONTROLLER = "tabletop"
"""The name that stands where Juju shows its controller's."""

USER = "admin"


class Session:
    """One run of the command line."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.client = Client(paths)

    def call(self, method: str, progress: Progress | None = note, **params: Any) -> Any:
        """Ask the daemon; its lines of progress go to standard error unless told otherwise."""
        return self.client.call(method, progress, **params)

    def model(self, given: str | None) -> str:
        """Return the model that is meant: the one given, else $JUJU_MODEL, else the current one.

        Raises:
            TabletopError: there is none, or it names another controller.
        """
        named = given or os.environ.get("JUJU_MODEL") or self.current_model()
        if named:
            return short_model(named)
        if os.geteuid() != 0 and not os.access(self.paths.state, os.R_OK | os.X_OK):
            raise root_needed()
        raise TabletopError("no model is current: give one with -m, or make one with 'tabletop add-model NAME'")

    def current_model(self) -> str | None:
        """Return the model chosen with `switch` or `add-model`, if any."""
        try:
            return self._choice.read_text().strip() or None
        except (FileNotFoundError, PermissionError):
            return None

    def switch(self, model: str | None) -> None:
        """Make a model the current one."""
        if model is None:
            self._choice.unlink(missing_ok=True)
            return
        self._choice.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._choice.with_suffix(f".{os.getpid()}")
        temporary.write_text(model + "\n")
        temporary.replace(self._choice)

    @property
    def _choice(self) -> Path:
        return self.paths.state / "current-model"


def short_model(name: str) -> str:
    """Return the bare name of `[controller:][user/]model`.

    Raises:
        TabletopError: it names another controller than this one.
    """
    controller, colon, rest = name.rpartition(":")
    if colon and controller != CONTROLLER:
        raise TabletopError(f"controller {controller} not found: the only one here is {CONTROLLER!r}")
    return rest.rpartition("/")[2]
