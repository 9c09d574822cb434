"""What can go wrong while a resource is built."""

import errno
import shutil
from pathlib import Path


class ResourceError(Exception):
    """Base of the builder's own errors; its text says what failed and what to do about it."""


class RecipeError(ResourceError):
    """A recipe (``resources/<name>/``) is missing or malformed."""


class ToolMissingError(ResourceError):
    """A program that the build needs is not installed."""


class FetchError(ResourceError):
    """An artifact could not be fetched, or is not what the recipe pins."""


class NoSpaceError(ResourceError):
    """The disk is full."""

    def __init__(self, directory: Path) -> None:
        while not directory.exists():
            directory = directory.parent
        free = shutil.disk_usage(directory).free // 2**20
        super().__init__(
            f"no space left on the disk that holds {directory} ({free} MiB free): "
            "make room, or set IOT_CACHE to a directory on another disk"
        )


def from_os_error(error: OSError, directory: Path) -> ResourceError:
    """Translate what the operating system reported about ``directory``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(directory)
    return ResourceError(str(error))
