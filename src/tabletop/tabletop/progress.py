"""How a long piece of work says where it stands."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes one line for a person to read, without its newline."""


def silent(line: str) -> None:
    """Say nothing."""
    del line
