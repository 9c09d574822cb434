"""All that is wrong with a bundle, collected so that it can be told at once."""

from typing import NamedTuple

from tabletop.errors import TabletopError


class BundleError(TabletopError):
    """A bundle can't be deployed; the text lists every problem, each with its file and line."""


class Problem(NamedTuple):
    """One mistake, and the `file:line` it stands at."""

    where: str
    text: str

    def __str__(self) -> str:
        """As a compiler writes it."""
        return f"{self.where}: {self.text}" if self.where else self.text


class Problems:
    """Collects problems."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, where: str, text: str) -> None:
        """Note a problem and the place it stands at ('' if the text says it); one already noted isn't noted again."""
        problem = Problem(where, text)
        if problem not in self.found:
            self.found.append(problem)

    def raise_if_any(self) -> None:
        """Tell all of them.

        Raises:
            BundleError: there are some.
        """
        if not self.found:
            return
        count = "one error" if len(self.found) == 1 else f"{len(self.found)} errors"
        raise BundleError(f"the bundle has {count}; nothing was deployed:\n" + "\n".join(f"  {x}" for x in self.found))
