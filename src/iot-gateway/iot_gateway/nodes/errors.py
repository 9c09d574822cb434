"""Why a node is not let in."""

from iot_gateway.errors import GatewayError


class AdmissionError(GatewayError):
    """A node is not let in; the text is for the gateway's log, not for whoever tried."""


class UnknownNodeError(AdmissionError):
    """There is no node of that name."""


class WrongCredentialError(AdmissionError):
    """The secret is not the node's."""


class NotAllowedError(AdmissionError):
    """The node is known, but disabled, or may not use this protocol."""


class TooManyAttemptsError(AdmissionError):
    """So many attempts from this address failed lately that this one was not looked at."""
