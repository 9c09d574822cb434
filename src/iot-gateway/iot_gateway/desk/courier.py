"""What the desk knows of a transport: a courier."""

from abc import ABC, abstractmethod

from iot_gateway.desk.command import Command, State


class NotReachedError(Exception):
    """The node is not there after all; the command stays in the queue."""


class RefusedError(Exception):
    """The node, or its protocol, does not take this command; the text says why."""


class Courier(ABC):
    """Carries commands to the nodes of one protocol.

    A listener that has one tells the desk when a node comes (:meth:`Desk.arrived`) and what a node says of a command
    (:meth:`Desk.report`).
    """

    protocol: str
    """The listener's name, ``mqtt``, ``lwm2m``, ..."""

    @abstractmethod
    def reaches(self, node: str) -> bool:
        """Tell whether a command to the node can be carried now. Cheap, and never blocks.

        The desk asks when something new is to be carried to the node, when it is told that the node arrived, and as
        long as something waits for it at least once an hour; between these it relies on being told.
        """

    @abstractmethod
    async def carry(self, command: Command) -> State:
        """Carry a command; carrying it again must do no harm.

        Returns:
            How far it has come: SENT, or ACKNOWLEDGED or APPLIED where the transport's own answer says so.

        Raises:
            NotReachedError: the node is not there.
            RefusedError: it is there, and does not take this command.
        """
