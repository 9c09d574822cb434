"""MQTT 3.1.1 listener: subscribes at the site's broker and acknowledges what is on disk."""

from iot_gateway.listeners.mqtt.listener import MqttListener, MqttOptions

__all__ = ["MqttListener", "MqttOptions"]
