"""The verbs of the command line: a module for those that belong together, loaded only when one is used."""

import argparse
from abc import ABC, abstractmethod

from tabletop.commands.refused import REFUSED
from tabletop.commands.verbs import ALIASES, VERBS, Verb
from tabletop.errors import TabletopError
from tabletop.session import Session

__all__ = ["ALIASES", "REFUSED", "VERBS", "Command", "UsageError", "Verb"]


class UsageError(TabletopError):
    """The command line makes no sense; it ends the program with exit status 2."""


class Command(ABC):
    """One verb."""

    intermixed = True
    """Whether options may stand among the other arguments; not so where a foreign command line follows."""

    notes = ""
    """What its help says after the list of its arguments: how it goes about it, and where it differs from Juju."""

    examples: tuple[str, ...] = ()
    """Command lines, without the program's name, that its help shows."""

    @abstractmethod
    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    @abstractmethod
    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Do it; return the exit status (None: 0)."""
