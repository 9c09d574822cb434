"""The command line of a tabletop that a test module has for itself."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "tabletop"


def tabletop(*words: object) -> "subprocess.CompletedProcess[str]":
    """Give a command, which may fail."""
    return subprocess.run([str(word) for word in (PROGRAM, *words)], text=True, capture_output=True, check=False)


def do(*words: object) -> str:
    """Give a command, which must succeed; return what it said."""
    done = tabletop(*words)
    assert done.returncode == 0, done.stderr
    return done.stderr
