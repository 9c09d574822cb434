"""What can go wrong in the relay."""


class GatewayError(Exception):
    """Base of the package's own errors; its text is fit for an operator to read."""


class ConfigError(GatewayError):
    """The configuration can't be used; the text names the file, the setting and what is allowed."""


class OutboxError(GatewayError):
    """Readings can't be stored now; nothing of what was given is stored, and it may be given again."""


class OutboxFullError(OutboxError):
    """The outbox holds as many bytes as it may."""


class OutboxUnavailableError(OutboxError):
    """The disk refuses to store: it is full, or faulty."""


class RequestRefusedError(GatewayError):
    """The relay does not do what it was asked for; the text says why."""


class NotRunningError(GatewayError):
    """No relay answers at its socket."""
