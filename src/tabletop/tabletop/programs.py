"""Running the host's own programs."""

import subprocess
from collections.abc import Mapping, Sequence

from tabletop.errors import TabletopError


class ProgramError(TabletopError):
    """A program of the host ended badly; the text holds its command line and the last of what it said."""


def run(argv: Sequence[str], *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program of the host to its end.

    Returns:
        What it wrote to its standard output.

    Raises:
        ProgramError: it is not installed, or did not exit 0.
    """
    try:
        done = subprocess.run(argv, input=stdin, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ProgramError(f"The program {argv[0]} is not installed.") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-3:]
        raise ProgramError(f"`{' '.join(argv)}` failed with status {done.returncode}: {' / '.join(said)}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Run a program for its exit status alone."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
