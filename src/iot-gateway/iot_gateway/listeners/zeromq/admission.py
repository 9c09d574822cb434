"""Who may connect: CURVE keys of the gateway's nodes (ZeroMQ RFC 26, 27: CURVE, ZAP)."""

import asyncio
import logging

import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

from iot_gateway.nodes import AdmissionError, Nodes

logger = logging.getLogger(__name__)

PROTOCOL = "zeromq"
KEY = "zeromq-public-key"
"""Under it a node's entry holds its public key, in Z85 (RFC 32)."""
DOMAIN = "nodes"


class CurveAdmission(AsyncioAuthenticator):
    """Answers ZeroMQ's own question of who may connect; a connection's user is its node's name."""

    def __init__(self, context: zmq.asyncio.Context, nodes: Nodes):
        super().__init__(context)  # pyright: ignore[reportUnknownMemberType]
        self._nodes = nodes
        self.refused = 0
        self.closed = False
        """Whether nobody is let in any more."""
        self.configure_curve_callback(DOMAIN, credentials_provider=self)

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        """Answer; or not at all: a node that is refused gives up, one whose connection ends tries again."""
        if self.closed:
            # The socket takes no other question before this one is answered.
            await asyncio.Event().wait()
        await super().handle_zap_message(msg)

    def callback(self, domain: str, key: bytes) -> bool:
        """Tell whether the owner of a public key, in Z85, may connect."""
        text = key.decode()
        node = self._nodes.by_key(KEY, text)
        try:
            # The address of the peer is not told here; a key can't be guessed, so nothing is throttled.
            self._nodes.admit(PROTOCOL, node.name if node else "", "")
        except AdmissionError as error:
            self.refused += 1
            logger.info("a ZeroMQ connection in %s with key %s is refused: %s", domain, text, error)
            return False
        return True

    def curve_user_id(self, client_public_key: bytes) -> str:
        """Return the name of the node that owns a key; asked once it is let in."""
        node = self._nodes.by_key(KEY, z85.encode(client_public_key).decode())
        return node.name if node else ""
