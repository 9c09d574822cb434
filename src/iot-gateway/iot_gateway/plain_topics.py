"""Which rule of the configuration, if any, a topic's plain payloads are read by."""

from collections.abc import Sequence

from iot_telemetry.plain import PlainRule

REMEMBERED = 10_000
"""Topics whose rule is not looked for again."""


class PlainTopics:
    """The rules; the first that matches a topic is the topic's."""

    def __init__(self, rules: Sequence[PlainRule]):
        self._rules = tuple(rules)
        self._known: dict[str, PlainRule | None] = {}

    def __bool__(self) -> bool:
        """Tell whether there is any rule."""
        return bool(self._rules)

    def rule(self, topic: str) -> PlainRule | None:
        """Return the topic's rule; None for a topic of SenML."""
        try:
            return self._known[topic]
        except KeyError:
            found = next((rule for rule in self._rules if rule.matches(topic)), None)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[topic] = found
            return found
