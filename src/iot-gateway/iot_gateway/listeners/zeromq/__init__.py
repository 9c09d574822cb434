"""ZeroMQ with CURVE: telemetry by PUSH, or acknowledged by DEALER, which takes commands as well."""

from iot_gateway.listeners.zeromq.listener import ZeroMqListener
from iot_gateway.listeners.zeromq.options import ZeroMqOptions

__all__ = ["ZeroMqListener", "ZeroMqOptions"]
