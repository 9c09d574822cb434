"""Telling whether a daemon runs the code that is on disk now."""

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_OF_CLIENTS = frozenset({"commands", "bundles", "lint", "packing", "tests", "__pycache__"})
"""Folders of the package that a daemon has no use for."""


@cache
def code_hash(package: Path = _PACKAGE) -> str:
    """Return twelve hexadecimal digits that change with any file of the package that a daemon may run.

    A process finds what was there when it first asked.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        relative = path.relative_to(package)
        if _OF_CLIENTS.isdisjoint(relative.parts) and path.is_file():
            digest.update(f"{relative}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
