"""What a client's connection goes through, and why it is not read at times."""

from enum import Enum, IntFlag


class Phase(Enum):
    """How far a connection has come."""

    NEW = 0
    """Nothing came yet."""
    OPENING = 1
    """The broker has the CONNECT."""
    OPEN = 2
    ENDING = 3
    """Nothing more is read; the last acknowledgements are waited for."""
    CLOSED = 4


class Pause(IntFlag):
    """Why a client is not read."""

    OPENING = 1
    INTAKE = 2
    UNACKNOWLEDGED = 4
    WRITING = 8
    BACKEND = 16
    QUIET = 32
    ENDING = 64
