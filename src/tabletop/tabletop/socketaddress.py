"""Addresses of unix sockets at paths of any length."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def address_of(path: Path) -> Generator[str]:
    """Yield what to bind or connect to: an address has at most 107 bytes (unix(7)), and a path may be longer.

    Args:
        path: of the socket; its folder must be there.
    """
    folder = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
