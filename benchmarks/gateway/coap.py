"""CoAP under load: nodes that POST one reading after the other, each until it is answered; behind OSCORE, or plain.

The requests are made, and sealed by aiocoap, before the time runs: the load is to cost little beside what is measured.
"""

import selectors
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

import aiocoap
from aiocoap.message import Direction, Message
from aiocoap.oscore import CanProtect, CanUnprotect, ReplayWindow, SecurityContextUtils, algorithms, hashfunctions

PAYLOAD_BYTES = 150
REPEAT_SECONDS = 2.0
CHANGED = 0x44


@dataclass(frozen=True)
class Target:
    """What is flooded."""

    port: int
    keys: dict[str, dict[str, str]]
    """Of the nodes, by name; empty for a node that is not protected."""
    requests: int
    """Of all nodes together."""


class Side(CanProtect, CanUnprotect, SecurityContextUtils):
    """A node's end of an OSCORE context."""

    alg_aead = algorithms["AES-CCM-16-64-128"]
    hashfun = hashfunctions["sha256"]
    id_context = echo_recovery = None

    def __init__(self, keys: dict[str, str]):
        self.sender_id, self.recipient_id = bytes.fromhex(keys["oscore-id"]), b"\0"
        self.derive_keys(bytes.fromhex(keys["oscore-salt"]), bytes.fromhex(keys["oscore-secret"]))
        self.sender_sequence_number = 0
        self.recipient_replay_window = ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        pass


class Node:
    """One node."""

    def __init__(self, target: Target, name: str, requests: int):
        self.name = name
        self.link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.link.connect(("127.0.0.1", target.port))
        self.link.settimeout(5)
        keys = target.keys[name]
        self._side = Side(keys) if keys else None
        self._echo: bytes | None = None
        self._made = 0
        if self._side:
            self._prove()
        self.requests = [self._request(number) for number in range(requests)]
        self.link.setblocking(False)
        self.next = self.acknowledged = self.repeated = 0
        self.sent_at = 0.0

    def _prove(self) -> None:
        """Send one reading in advance, and answer what the gateway asks to know that it is fresh."""
        for _ in range(2):
            data, identifiers = self._seal(self._message(0))
            self.link.send(data)
            answer = Message.decode(self.link.recv(4096))
            answer.direction = Direction.INCOMING
            opened, _ = self._side.unprotect(answer, identifiers)
            if opened.code == aiocoap.CHANGED:
                return
            self._echo = opened.opt.echo
        raise ConnectionError(f"{self.name} is answered {opened.code}")

    def _message(self, number: int) -> Message:
        payload = b'[{"n":"%s/temperature","t":%.3f,"u":"Cel","v":21.5,"seq":%d,"note":"' % (
            self.name.encode(),
            time.time(),
            number,
        )
        payload += b"." * (PAYLOAD_BYTES - len(payload) - 3) + b'"}]'
        made = Message(code=aiocoap.POST, uri_path=("telemetry",), content_format=110, payload=payload)
        if self._echo is not None:
            made.opt.echo, self._echo = self._echo, None
        return made

    def _seal(self, message: Message) -> tuple[bytes, Any]:
        identifiers = None
        if self._side:
            message, identifiers = self._side.protect(message)
        else:
            message.opt.uri_query = (f"node={self.name}",)
        self._made += 1
        message.mid, message.mtype, message.token = self._made & 0xFFFF, aiocoap.CON, struct.pack(">I", self._made)
        return message.encode(), identifiers

    def _request(self, number: int) -> bytes:
        return self._seal(self._message(number + 1))[0]

    def send(self) -> None:
        self.link.send(self.requests[self.next])
        self.sent_at = time.monotonic()

    def hear(self) -> bool:
        """Take an answer; return whether there is more to send."""
        answer = self.link.recv(4096)
        request = self.requests[self.next]
        if answer[2:4] != request[2:4]:
            return True  # to one that was repeated
        self.acknowledged += answer[1] == CHANGED
        self.next += 1
        if self.next == len(self.requests):
            return False
        self.send()
        return True


def flood(target: Target, results: Any) -> None:
    """Send all requests, of all nodes side by side; tell how many were acknowledged, in what time."""
    each = target.requests // len(target.keys)
    nodes = [Node(target, name, each) for name in target.keys]
    selector = selectors.DefaultSelector()
    begin = time.monotonic()
    for node in nodes:
        selector.register(node.link, selectors.EVENT_READ, node)
        node.send()
    left = len(nodes)
    checked = begin
    while left:
        for key, _ in selector.select(0.5):
            if not key.data.hear():
                selector.unregister(key.fileobj)
                left -= 1
        now = time.monotonic()
        if now - checked > 0.5:
            checked = now
            for key in list(selector.get_map().values()):
                if now - key.data.sent_at > REPEAT_SECONDS:
                    key.data.repeated += 1
                    key.data.send()
    seconds = time.monotonic() - begin
    for node in nodes:
        node.link.close()
    # What proved the nodes fresh are readings as well.
    proven = sum(bool(keys) for keys in target.keys.values())
    results.put(
        {
            "requests": each * len(nodes),
            "readings": each * len(nodes) + proven,
            "acknowledged": sum(node.acknowledged for node in nodes) + proven,
            "repeated": sum(node.repeated for node in nodes),
            "seconds": seconds,
        }
    )
