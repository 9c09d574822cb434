"""The command desk: commands to nodes, kept on disk until they have come to an end.

::

    action, AMQP message, panel --submit--> Desk --carry--> Courier (of a listener) --> node
                                 Book (disk) <-+  <--report--  acknowledged, applied, refused, failed
                                               +--> every change of state, as a line, to the chain

A command is delivered at least once, in its order for each target of a node; the node tells a repetition by the
command's identifier. No transport is known here: a listener brings a :class:`Courier`.
"""

from iot_gateway.desk.book import Book
from iot_gateway.desk.command import Command, CommandFilter, CommandRequest, NodeReport, State, Step
from iot_gateway.desk.courier import Courier, NotReachedError, RefusedError
from iot_gateway.desk.desk import Desk
from iot_gateway.desk.errors import (
    BookError,
    CommandConflictError,
    CommandError,
    DeskFullError,
    UnknownCommandError,
)
from iot_gateway.desk.values import read_value

__all__ = [
    "Book",
    "BookError",
    "Command",
    "CommandConflictError",
    "CommandError",
    "CommandFilter",
    "CommandRequest",
    "Courier",
    "Desk",
    "DeskFullError",
    "NodeReport",
    "NotReachedError",
    "RefusedError",
    "State",
    "Step",
    "UnknownCommandError",
    "read_value",
]
