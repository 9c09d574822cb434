"""Who may speak to the gateway: nodes, their credentials, and those who tried without being known.

Every listener asks the same :class:`Nodes`; no transport is known here.
"""

from iot_gateway.nodes.admission import Nodes
from iot_gateway.nodes.errors import (
    AdmissionError,
    NotAllowedError,
    TooManyAttemptsError,
    UnknownNodeError,
    WrongCredentialError,
)
from iot_gateway.nodes.inbox import Inbox, Stranger
from iot_gateway.nodes.node import NAME, Node

__all__ = [
    "NAME",
    "AdmissionError",
    "Inbox",
    "Node",
    "Nodes",
    "NotAllowedError",
    "Stranger",
    "TooManyAttemptsError",
    "UnknownNodeError",
    "WrongCredentialError",
]
