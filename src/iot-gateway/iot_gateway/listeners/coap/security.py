"""OSCORE (RFC 8613): the security context that the gateway has with each node.

Two things must outlive a restart. A sender sequence number may never be used again: all contexts share one counter, of
which a stretch is reserved on disk before any of it is used (appendix B.1.1). And a request that was taken may not be
taken again: replay windows are written down in an orderly end; where that is missing, after a power cut or a kill, a
node is asked by an Echo option to prove that its request is fresh (appendix B.1.2), once.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiocoap is only partly typed.

import hashlib
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from aiocoap import oscore
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from iot_gateway.files import replace_file, sync_directory
from iot_gateway.nodes import Node, Nodes

logger = logging.getLogger(__name__)

IDENTIFIER, SECRET, SALT = "oscore-id", "oscore-secret", "oscore-salt"
"""Under these names a node has its keys, see :class:`iot_gateway.nodes.node.Node`."""
RESERVE: Final = 10_000
TAG: Final = 8
"""Bytes by which a message is told to be genuine, in AES-CCM-16-64-128."""
_SEQUENCE_LENGTH, _KEY_PRESENT = 0x07, 0x08
WINDOW: Final = 32
"""Requests that may overtake each other (section 7.4)."""


def make_keys(name: str) -> dict[str, str]:
    """Return fresh keys for a node of that name.

    The identifier is made of the name, 7 bytes, so that no two nodes of a gateway share one.
    """
    return {
        IDENTIFIER: hashlib.blake2b(name.encode(), digest_size=7).hexdigest(),
        SECRET: secrets.token_hex(16),
        SALT: secrets.token_hex(8),
    }


class SequenceNumbers:
    """A counter that never gives a number twice, whatever happens to the machine."""

    def __init__(self, path: Path):
        self._path = path
        self._next = self._reserved = 0

    def open(self) -> None:
        """Go on behind all that was reserved.

        Raises:
            OSError: the file can't be read.
            ValueError: it holds no number.
        """
        self._next = self._reserved = int(self._path.read_text()) if self._path.exists() else 0

    def take(self) -> int:
        """Return a number.

        Raises:
            ContextUnavailable: there is none, or none can be reserved.
        """
        if self._next >= self._reserved:
            reserved = self._next + RESERVE
            if reserved >= oscore.MAX_SEQNO:
                raise oscore.ContextUnavailable("no sequence number is left; all nodes need new keys")
            try:
                replace_file(self._path, str(reserved).encode())
            except OSError as error:
                raise oscore.ContextUnavailable(f"no sequence number can be reserved: {error}") from error
            self._reserved = reserved
        self._next += 1
        return self._next - 1


class Sealed(NamedTuple):
    """What opens a request and seals its answer (RFC 8613, sections 5.2 and 5.4)."""

    sequence: int
    nonce: bytes
    aad: bytes


class NodeContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):
    """The security context with one node, with the algorithms that RFC 8613 has for defaults."""

    alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]  # pyright: ignore[reportAssignmentType]
    hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]  # pyright: ignore[reportAssignmentType]
    id_context = None

    def __init__(self, node: Node, own_id: bytes, numbers: SequenceNumbers, echo: bytes):
        """Derive the keys.

        Raises:
            ValueError: the node's keys are no hexadecimal, or too short or long.
        """
        self.node = node.name
        self.sender_id = own_id
        self.recipient_id = bytes.fromhex(node.keys[IDENTIFIER])
        secret, salt = bytes.fromhex(node.keys[SECRET]), bytes.fromhex(node.keys.get(SALT, ""))
        if len(self.recipient_id) > 7 or self.recipient_id == own_id:
            raise ValueError(f"{IDENTIFIER} is longer than 7 bytes, or the gateway's own")
        if len(secret) < 16:
            raise ValueError(f"{SECRET} is shorter than 16 bytes")
        self.derive_keys(salt, secret)
        self.authenticated_claims = [node.name]
        self.echo_recovery = echo
        self.recipient_replay_window = oscore.ReplayWindow(WINDOW, _nothing)
        self._numbers = numbers
        self._opener = AESCCM(self.recipient_key, TAG)
        self._sealer = AESCCM(self.sender_key, TAG)
        padded = bytes((len(self.recipient_id),)) + self.recipient_id.rjust(7, b"\0") + bytes(5)
        self._nonce_base = int.from_bytes(self.common_iv, "big") ^ int.from_bytes(padded, "big")
        self._aad_start = b"\x85\x01\x81\x0a" + _byte_string(self.recipient_id)

    @property
    def fingerprint(self) -> str:
        """Names the context in what is written down; other keys make another one."""
        return hashlib.blake2b(self.recipient_key + self.recipient_id, digest_size=16).hexdigest()

    def sealed(self, partial_iv: bytes) -> Sealed | None:
        """Return what opens a request; None if it may be a repetition, or may not be told from one."""
        sequence = int.from_bytes(partial_iv, "big")
        window = self.recipient_replay_window
        if not window.is_initialized() or not window.is_valid(sequence):
            return None
        nonce = (self._nonce_base ^ sequence).to_bytes(13, "big")
        # CBOR: [1, [10], kid, partial IV, h''] within ["Encrypt0", h'', ...]
        external = self._aad_start + _byte_string(partial_iv) + b"\x40"
        return Sealed(sequence, nonce, b"\x83\x68Encrypt0\x40" + _byte_string(external))

    def open(self, sealed: Sealed, payload: bytes) -> bytes:
        """Return what a request holds: code, options, payload.

        Raises:
            InvalidTag: it is not the node's.
        """
        return self._opener.decrypt(sealed.nonce, payload, sealed.aad)

    def seal(self, sealed: Sealed, content: bytes) -> bytes:
        """Return an answer's payload; a second, other answer under the same nonce would betray both."""
        return self._sealer.encrypt(sealed.nonce, content, sealed.aad)

    def take(self, sealed: Sealed) -> None:
        """Note that a request is taken, and no repetition of it."""
        self.recipient_replay_window.strike_out(sealed.sequence)

    def new_sequence_number(self) -> int:
        """Return a number that was never used with these keys."""
        return self._numbers.take()

    def post_seqnoincrease(self) -> None:
        """Nothing is left to do: the counter has seen to it."""

    def unprotect(self, protected_message: Any, request_id: Any = None) -> Any:
        """Return the message inside, with what names the datagram that it came in."""
        message, request_id = super().unprotect(protected_message, request_id)
        message.mid, message.mtype = protected_message.mid, protected_message.mtype
        return message, request_id


class Contexts:
    """The contexts, made when a node first speaks; what aiocoap takes for a server's credentials."""

    def __init__(self, nodes: Nodes, own_id: bytes, directory: Path):
        self._nodes = nodes
        self._own_id = own_id
        self._directory = directory
        self._numbers = SequenceNumbers(directory / "sequence")
        self._contexts: dict[str, NodeContext] = {}
        """By node."""
        self._windows: dict[str, Any] = {}
        self._echo = secrets.token_bytes(8)

    def __len__(self) -> int:
        """Count the contexts in use."""
        return len(self._contexts)

    @property
    def _windows_file(self) -> Path:
        return self._directory / "windows.json"

    def open(self) -> None:
        """Read what the last run left.

        Raises:
            OSError: a file can't be read or removed.
            ValueError: a file holds something else.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._numbers.open()
        if self._windows_file.exists():
            self._windows = orjson.loads(self._windows_file.read_bytes())
            # They are true until the first request is taken.
            self._windows_file.unlink()
            sync_directory(self._directory)

    def close(self) -> None:
        """Write down the replay windows: no node has to prove then that its next request is fresh."""
        for context in self._contexts.values():
            if context.recipient_replay_window.is_initialized():
                self._windows[context.fingerprint] = context.recipient_replay_window.persist()
        self._contexts.clear()
        if self._windows:
            try:
                replace_file(self._windows_file, orjson.dumps(self._windows))
            except OSError as error:
                logger.warning("each node will have to prove once that it is fresh: %s", error)

    def of_node(self, node: Node) -> NodeContext | None:
        """Return the context with a node; None if it has no keys that can be used."""
        context = self._contexts.get(node.name)
        if context is None and IDENTIFIER in node.keys and SECRET in node.keys:
            try:
                context = NodeContext(node, self._own_id, self._numbers, self._echo)
            except ValueError as error:
                logger.warning("node %s can't use OSCORE: %s", node.name, error)
                return None
            window = self._windows.pop(context.fingerprint, None)
            if window is not None:
                context.recipient_replay_window.initialize_from_persisted(window)
            self._contexts[node.name] = context
        return context

    def forget(self, names: set[str]) -> None:
        """Make the contexts of these nodes anew when they next speak, if they still have keys then."""
        for name in names:
            context = self._contexts.pop(name, None)
            if context is not None and context.recipient_replay_window.is_initialized():
                self._windows[context.fingerprint] = context.recipient_replay_window.persist()

    def find_oscore(self, unprotected: Mapping[int, Any]) -> NodeContext:
        """Return the context of a request, by what its OSCORE option says in the open.

        Raises:
            KeyError: there is none.
        """
        node = self._nodes.by_key(IDENTIFIER, bytes(unprotected[oscore.COSE_KID]).hex())
        context = self.of_node(node) if node else None
        if context is None or unprotected.get(oscore.COSE_KID_CONTEXT) is not None:
            raise KeyError("no such context")
        return context

    def sealed(self, option: bytes) -> tuple[NodeContext, Sealed] | None:
        """Return what opens a request, by its OSCORE option (section 6.1); None if more is needed than is done here."""
        if not is_of_a_request(option):
            return None
        length = option[0] & _SEQUENCE_LENGTH
        node = self._nodes.by_key(IDENTIFIER, option[1 + length :].hex())
        context = self.of_node(node) if node else None
        found = context.sealed(option[1 : 1 + length]) if context else None
        return (context, found) if context and found else None

    def get(self, _uri: str) -> None:
        """Return no credentials for EDHOC: keys are provisioned here, not agreed upon."""


def is_of_a_request(option: bytes) -> bool:
    """Tell whether an OSCORE option is one of a node's requests: a sequence number and an identifier (section 6.1).

    A context for the identifier, and groups, are not used here.
    """
    if not option or option[0] & ~_SEQUENCE_LENGTH != _KEY_PRESENT:
        return False
    length = option[0] & _SEQUENCE_LENGTH
    return 1 <= length <= 5 and len(option) >= 1 + length


def _byte_string(value: bytes) -> bytes:
    # CBOR's, of fewer than 24 bytes.
    return bytes((0x40 | len(value),)) + value


def _nothing() -> None:
    pass
