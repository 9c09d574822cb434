"""The intake: payloads become readings or dead letters, each in its own lane; neither lane waits for the other."""

import time
from typing import Any

from iot_gateway.committer import Committer
from iot_gateway.dead_letters import DeadLetter
from iot_gateway.interfaces import Decode, Intake, Outbox, Source
from iot_gateway.plain_topics import PlainTopics
from iot_gateway.probes import NODE, Probes
from iot_telemetry import MalformedPayloadError, plain, senml
from iot_telemetry.reading import line

MAX_PAYLOAD = 256 * 1024
"""Bytes; a larger payload is a dead letter."""
MAX_KEPT = 2**20
"""Bytes of a payload that a dead letter keeps; the charm has the broker at the gateway refuse a larger one."""
HIGH_WATER = 4 * 2**20
"""Bytes of payload that may wait for the disk; above it listeners are told to pause."""


class RelayIntake(Intake):
    """The intake of a relay. Payloads are decoded in the listener's callback; see the committer for the rest."""

    def __init__(self, site: str, gateway: str, telemetry: Outbox, dead_letters: Outbox):
        self.site = site
        self.gateway = gateway
        self.plain = PlainTopics(())
        """Topics whose payloads are not SenML."""
        self.probes = Probes()
        self.received = self.readings = self.malformed = 0
        self.telemetry = Committer(telemetry, self._drained)
        self.dead_letters = Committer(dead_letters, self._drained)
        self._paused: set[Source] = set()

    def offer(
        self, source: Source, node: str, topic: str, payload: bytes, token: Any, decode: Decode | None = None
    ) -> bool:
        """Take a payload; see :class:`~iot_gateway.interfaces.Intake`."""
        now = time.time()
        self.received += 1
        committer = self.telemetry
        try:
            lines = self._lines(node, topic, payload, now, decode)
            self.readings += len(lines)
        except MalformedPayloadError as error:
            self.malformed += 1
            committer = self.dead_letters
            if token is not None:
                token = source.refused(token, error.reason)
            lines = [DeadLetter(error.reason, topic, now, payload[:MAX_KEPT]).to_line()]
        committer.add(lines, len(payload), source, token)
        if node == NODE:
            self._follow(committer, payload, now)
        if self.waiting_bytes > HIGH_WATER and source not in self._paused:
            self._paused.add(source)
            source.pause()
        return committer is self.telemetry

    def bury(self, source: Source, topic: str, payload: bytes, reason: str, token: Any) -> None:
        """Keep a payload as a dead letter; see :class:`~iot_gateway.interfaces.Intake`."""
        self.received += 1
        self.malformed += 1
        if token is not None:
            token = source.refused(token, reason)
        line = DeadLetter(reason, topic, time.time(), payload[:MAX_KEPT]).to_line()
        self.dead_letters.add([line], len(payload), source, token)

    def _lines(self, node: str, topic: str, payload: bytes, now: float, decode: Decode | None) -> list[bytes]:
        if not node:
            raise MalformedPayloadError("the topic names no node")
        if len(payload) > MAX_PAYLOAD:
            raise MalformedPayloadError(f"{len(payload)} bytes, at most {MAX_PAYLOAD} are allowed")
        site, gateway = self.site, self.gateway
        if decode is not None:
            records = decode(payload, now)
        elif self.plain and (rule := self.plain.rule(topic)):
            records = plain.decode(rule, node, topic, payload, now)
        else:
            records = senml.decode(payload, now)
        lines: list[bytes] = []
        for name, measured, unit, value, text, flag, seq in records:
            speaker, _, sensor = name.partition("/")
            # A node may speak for others, "<node>:<other>", and for nobody else.
            if speaker != node and not (speaker.startswith(node) and speaker[len(node)] == ":"):
                raise MalformedPayloadError(f"node {node} may not speak for {speaker}")
            if not sensor:
                raise MalformedPayloadError(f"the name {name} has no sensor: <node>/<sensor> is expected")
            lines.append(line(measured, site, gateway, speaker, sensor, unit, value, text, flag, seq, now))
        return lines

    def _follow(self, committer: Committer, payload: bytes, now: float) -> None:
        if committer is self.telemetry:
            name = senml.decode(payload, now)[0].name.partition("/")[0]
            committer.then(lambda tail: self.probes.stored(name, tail))
        else:
            committer.then(lambda _: self.probes.stored(NODE, None))

    @property
    def refusal(self) -> str | None:
        """Why no telemetry is stored now; None while all is well."""
        if self.telemetry.refusal is None and self.waiting_bytes > HIGH_WATER:
            return "the disk does not keep up"
        return self.telemetry.refusal

    @property
    def waiting_bytes(self) -> int:
        """Payload bytes that are in memory only."""
        return self.telemetry.waiting_bytes + self.dead_letters.waiting_bytes

    def _drained(self) -> None:
        if self._paused and self.waiting_bytes <= HIGH_WATER // 2:
            paused, self._paused = self._paused, set()
            for source in paused:
                source.resume()
