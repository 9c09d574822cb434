"""Actions that ask the relay: what it refuses, or that it does not run, fails the action with the reason."""

from iot_charm.base import failing_with
from iot_gateway.errors import GatewayError

relay_action = failing_with(GatewayError)
