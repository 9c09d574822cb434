"""All that is wrong with a bundle, collected so that it can be told at once."""

from tabletop.errors import TabletopError


class BundleError(TabletopError):
    """A bundle can't be deployed; the text lists every problem, each with its file and line."""


class Problems:
    """Collects problems."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, where: str, text: str) -> None:
        """Note a problem and the place it stands at; one already noted isn't noted again."""
        line = f"{where}: {text}"
        if line not in self._found:
            self._found.append(line)

    def raise_if_any(self) -> None:
        """Tell all of them.

        Raises:
            BundleError: there are some.
        """
        if not self._found:
            return
        count = "one error" if len(self._found) == 1 else f"{len(self._found)} errors"
        raise BundleError(f"the bundle has {count}; nothing was deployed:\n" + "\n".join(f"  {x}" for x in self._found))
