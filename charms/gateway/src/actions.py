"""Actions that ask the relay: what it refuses, or that it does not run, fails the action with the reason."""

import functools
from collections.abc import Callable
from typing import TypeVar

import ops

from iot_charm.errors import IotCharmError
from iot_gateway.errors import GatewayError

HandlerT = TypeVar("HandlerT", bound=ops.Object)


def relay_action(handler: Callable[[HandlerT, ops.ActionEvent], None]) -> Callable[[HandlerT, ops.ActionEvent], None]:
    """Have an action fail with the text of an operator's error, or of the relay's."""

    @functools.wraps(handler)
    def handle(observer: HandlerT, event: ops.ActionEvent) -> None:
        try:
            handler(observer, event)
        except (GatewayError, IotCharmError) as error:
            event.fail(str(error))

    return handle
