"""Plugins by name.

The relay's own are listed here; another package offers one as an entry point of the group
``iot_gateway.listeners``, ``iot_gateway.outboxes`` or ``iot_gateway.uplinks``.
"""

from importlib import import_module
from typing import Any, TypeVar

from iot_gateway.errors import ConfigError
from iot_gateway.interfaces import Listener, Outbox, Uplink

_OWN: dict[str, dict[str, str]] = {
    "listeners": {
        "amqp": "iot_gateway.listeners.amqp:AmqpListener",
        "coap": "iot_gateway.listeners.coap:CoapListener",
        "mqtt": "iot_gateway.listeners.mqtt:MqttListener",
        "zeromq": "iot_gateway.listeners.zeromq:ZeroMqListener",
    },
    "outboxes": {"disk": "iot_gateway.outbox.disk:DiskOutbox"},
    "uplinks": {"amqp": "iot_gateway.uplinks.amqp:AmqpUplink"},
}
Plugin = TypeVar("Plugin")


def listener(name: str) -> type[Listener]:
    """Return the class of a listener.

    Raises:
        ConfigError: there is none of that name.
    """
    return _find("listeners", name, Listener)


def outbox(name: str) -> type[Outbox]:
    """Return the class of an outbox.

    Raises:
        ConfigError: there is none of that name.
    """
    return _find("outboxes", name, Outbox)


def uplink(name: str) -> type[Uplink]:
    """Return the class of an uplink.

    Raises:
        ConfigError: there is none of that name.
    """
    return _find("uplinks", name, Uplink)


def _find(kind: str, name: str, base: type[Plugin]) -> type[Plugin]:
    own = _OWN[kind].get(name)
    found: Any
    if own is not None:
        module, _, attribute = own.partition(":")
        found = getattr(import_module(module), attribute)
    else:
        # Only now: it costs 3 MB with what it imports, and most gateways have none.
        from importlib.metadata import entry_points

        offered = entry_points(group=f"iot_gateway.{kind}", name=name)
        if not offered:
            raise ConfigError(f"{kind}: there is none called {name!r}; known: {', '.join(sorted(_OWN[kind]))}")
        found = next(iter(offered)).load()
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{kind}: {name!r} is no {base.__name__}")
    return found
