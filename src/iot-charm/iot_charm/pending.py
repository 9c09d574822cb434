"""What is written and not followed yet.

A hook can end anywhere: between the file that it writes and the restart that makes a daemon follow it, when the machine
loses power or the unit's agent is replaced. The hook that comes after finds nothing to write. So what was followed is
marked by a file of its own, the stamp.
"""

from pathlib import Path


def is_pending(stamp: Path, *files: Path) -> bool:
    """Tell whether one of these files, or directories, was changed after the stamp was made, or there is no stamp."""
    if not stamp.exists():
        return True
    made = stamp.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns > made for file in files if file.exists())


def settle(stamp: Path) -> None:
    """Mark that all that is written is followed; the stamp's directory must exist."""
    stamp.touch()
