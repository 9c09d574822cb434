"""The checks, one module a subject; each module's import registers what is in it."""

from checks import action, other, port, relation, secret, status, storage, unitstate, wrapped
from checks.preparing import prepare
from checks.registry import CHECKS, Check, covered, run

__all__ = [
    "CHECKS",
    "Check",
    "action",
    "covered",
    "other",
    "port",
    "prepare",
    "relation",
    "run",
    "secret",
    "status",
    "storage",
    "unitstate",
    "wrapped",
]
