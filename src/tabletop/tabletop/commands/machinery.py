"""Entering a machine from this one."""

from dataclasses import dataclass
from pathlib import Path

from tabletop.session import Session

_HOME = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Machine:
    """A running machine: `pid` is its init, as this machine sees it."""

    name: str
    pid: int
    address: str
    root: Path


def find(session: Session, model: str, target: str) -> Machine:
    """Return the machine of a unit (`app/0`, `app/leader`) or of a machine's number."""
    found = session.call("machine", model=model, target=target)
    return Machine(found["name"], found["pid"], found["address"], Path(found["root"]))


def inside(machine: Machine, argv: list[str], *, user: str = "root", term: str | None = None) -> list[str]:
    """Return the command that runs another one inside a machine, as a user, in that user's home."""
    env = [f"{key}={value}" for key, value in {**_HOME, "PATH": _PATH}.items()]
    if term:
        env.append(f"TERM={term}")
    enter = ["nsenter", "-t", str(machine.pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
    if user != "root":
        return [*enter, "env", "-i", *env, "runuser", "-u", user, "--", *argv]
    # Sessions start in the home folder, as those of ssh do.
    return [*enter, "env", "-i", *env, "/bin/sh", "-c", 'cd && exec "$@"', "sh", *argv]
