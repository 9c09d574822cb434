"""A source of what does not come from a node: its tokens are calls."""

from collections.abc import Callable, Sequence

from iot_gateway.interfaces import Source


class Calls(Source):
    """Makes the call that stands for a payload once the payload is on disk."""

    def acknowledge(self, tokens: Sequence[Callable[[], None]]) -> None:
        """Make the calls."""
        for call in tokens:
            call()

    def refused(self, token: Callable[[], None], reason: str) -> Callable[[], None]:  # noqa: ARG002
        """Return the token: the reason is in the dead letter, and nobody else has to be told."""
        return token

    def pause(self) -> None:
        """Nothing is held up here: whoever offers bounds what it has on its way."""

    def resume(self) -> None:
        """See :meth:`pause`."""
