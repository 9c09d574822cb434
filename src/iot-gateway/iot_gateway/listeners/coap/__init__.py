"""CoAP (RFC 7252): telemetry by POST, answered once it is on disk, secured by OSCORE (RFC 8613)."""

from iot_gateway.listeners.coap.listener import CoapListener
from iot_gateway.listeners.coap.options import CoapOptions, Lwm2mOptions

__all__ = ["CoapListener", "CoapOptions", "Lwm2mOptions"]
