"""What takes its time, told to whoever listens while it begins: a charm shows it as its unit's status.

Code that works on the machine announces only what it really does, so that a unit that is as it should be shows no
change at all.
"""

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

Listener = Callable[[str], None]

_listeners: list[Listener] = []


def announce(text: str) -> None:
    """Say what begins now, as "Starting hadoop-namenode"."""
    logger.info("%s", text)
    for listener in _listeners:
        listener(text)


def listen(listener: Listener) -> None:
    """Have ``listener`` called with what is announced, in the place of the one before."""
    _listeners[:] = [listener]
