"""What the desk refuses."""

from iot_gateway.errors import GatewayError


class CommandError(GatewayError):
    """A command can't be taken, found or cancelled; the text is for whoever gave it."""


class BookError(CommandError):
    """The disk does not take, or give, what is asked for now; it may do so later."""


class CommandConflictError(CommandError):
    """There is another command of that identifier."""


class UnknownCommandError(CommandError):
    """There is no command of that identifier."""


class DeskFullError(CommandError):
    """So many commands wait for their nodes that no more are taken."""
