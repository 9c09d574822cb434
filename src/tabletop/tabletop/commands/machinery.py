"""Entering a machine from this one."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from tabletop.machine import PATH, Machines
from tabletop.session import Session

Stream = int | IO[Any] | None
"""As `subprocess.Popen` takes it."""

_HOME_THEN = 'cd ~ 2>/dev/null; exec "$@"'


@dataclass(frozen=True, slots=True)
class Entrance:
    """A way into a running machine, as a user, whose home folder is where commands start as those of ssh do."""

    machines: Machines
    name: str
    user: str = "root"

    def popen(
        self, argv: Sequence[str], *, stdin: Stream = None, stdout: Stream = None, terminal: bool = False
    ) -> "subprocess.Popen[Any]":
        """Start a program inside; it shares this process's streams unless told otherwise.

        Args:
            argv: the program and its arguments.
            stdin: as for `subprocess.Popen`.
            stdout: as for `subprocess.Popen`.
            terminal: whether it needs this process's terminal.
        """
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "USER": self.user, "LOGNAME": self.user}
        env["TERM"] = os.environ.get("TERM", "dumb")
        return self.machines.popen(
            self.name,
            ["/bin/sh", "-c", _HOME_THEN, "sh", *argv],
            env=env,
            user=self.user,
            stdin=stdin,
            stdout=stdout,
            new_session=not terminal,
        )


def entrance(session: Session, model: str, target: str) -> Entrance:
    """Return the way into the machine of `[user@]app/0`, `app/leader` or a machine's number.

    Juju's default user, ubuntu, may do everything through sudo; here that is root.
    """
    user, _, target = target.rpartition("@")
    found = session.call("machine", model=model, target=target)
    return Entrance(Machines(session.paths), str(found["name"]), "root" if user in ("", "ubuntu") else user)
