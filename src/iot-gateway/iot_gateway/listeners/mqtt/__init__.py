"""MQTT 3.1.1 and 5 listener: takes telemetry from the nodes itself, and passes all else to the site's broker."""

from iot_gateway.listeners.mqtt.listener import MqttListener
from iot_gateway.listeners.mqtt.options import MqttOptions

__all__ = ["MqttListener", "MqttOptions"]
