"""Provisioning: what a node is given so that it can prove who it is, by kind.

===============  ========  =============================================================================
``password``     mqtt      256 bits of chance; the gateway keeps a hash
``certificate``  mqtt      nothing: its certificate's common name is the node's name, or one that is given
``curve``        zeromq    a CURVE key pair (ZeroMQ RFC 26), or the public key of one that the node has
``oscore``       coap      a master secret, a salt and an identifier (RFC 8613)
``amqp``         amqp      256 bits of chance; the broker keeps a hash, and says under what name the node has it
===============  ========  =============================================================================
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from iot_gateway.errors import GatewayError
from iot_gateway.nodes import credentials, rabbitmq_password
from iot_gateway.nodes.node import AMQP_PASSWORD_HASH, CERTIFICATE_NAME, NAME, Node
from iot_telemetry.names import NODE_NAME_WORDS

PROTOCOLS: Final = ("mqtt", "coap", "zeromq", "amqp")
"""The protocols that a node may be confined to: those that a listener lets nodes in by."""


class ProvisioningError(GatewayError):
    """A node can't be provisioned so; the text names the value and what is allowed."""


@dataclass(frozen=True)
class Given:
    """What whoever provisions a node says of its credentials."""

    public_key: str = ""
    """Of kind ``curve``: the node's own, in Z85; empty to have a pair made."""
    common_name: str = ""
    """Of kind ``certificate``: empty for the node's name."""


@dataclass(frozen=True)
class Credentials:
    """Of one kind, as the gateway keeps them and as the node is given them."""

    credential: str = ""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    shown: Mapping[str, str] = field(default_factory=dict[str, str])
    """For the node, to be shown once; in the words of an action's results."""


@dataclass(frozen=True)
class Provisioned:
    """A node, and what it is to be given."""

    node: Node
    shown: Mapping[str, str]


@dataclass(frozen=True)
class _Kind:
    protocol: str
    make: Callable[[str, Given], Credentials]
    used_by: Callable[[Node], bool]
    """Whether a node has credentials of this kind that can be made anew."""


def provision(name: str, kinds: Sequence[str], given: Given, protocols: Sequence[str] = ()) -> Provisioned:
    """Make a node with fresh credentials.

    Args:
        name: of the node.
        kinds: of credentials; see above.
        given: what is said of them.
        protocols: that it may use; none for those that its credentials are for.

    Raises:
        ProvisioningError: a value can't be.
    """
    if not re.fullmatch(NAME, name):
        raise ProvisioningError(f"name={name!r}: {NODE_NAME_WORDS}")
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= _KINDS.keys():
        raise ProvisioningError(f"credentials={','.join(kinds)!r}: one or more of {', '.join(_KINDS)}, each once")
    if not set(protocols) <= set(PROTOCOLS):
        raise ProvisioningError(f"protocols={','.join(protocols)!r}: must be of {', '.join(PROTOCOLS)}")
    if given.public_key and "curve" not in kinds:
        raise ProvisioningError("public-key is given, but credentials does not name curve")
    if given.common_name and "certificate" not in kinds:
        raise ProvisioningError("common-name is given, but credentials does not name certificate")
    allowed = frozenset(protocols) or frozenset(_KINDS[kind].protocol for kind in kinds)
    for kind in kinds:
        if _KINDS[kind].protocol not in allowed:
            raise ProvisioningError(
                f"protocols={','.join(protocols)!r}: credentials of kind {kind} are for {_KINDS[kind].protocol}"
            )
    return _provisioned(Node(name, protocols=allowed), kinds, given)


def rotate(node: Node, given: Given) -> Provisioned:
    """Give a node fresh credentials of the kinds that it has.

    Raises:
        ProvisioningError: it has none that the gateway makes, or a value can't be.
    """
    kinds = [name for name, kind in _KINDS.items() if kind.used_by(node)]
    if not kinds:
        raise ProvisioningError(
            f"name={node.name!r}: it proves who it is by a certificate alone; its authority issues another"
        )
    if given.public_key and "curve" not in kinds:
        raise ProvisioningError(f"public-key is given, but node {node.name} has no credentials of kind curve")
    return _provisioned(node, kinds, given)


def _provisioned(node: Node, kinds: Sequence[str], given: Given) -> Provisioned:
    credential, keys, shown = node.credential, dict(node.keys), dict[str, str]()
    for kind in kinds:
        made = _KINDS[kind].make(node.name, given)
        credential = made.credential or credential
        keys.update(made.keys)
        shown.update(made.shown)
    return Provisioned(Node(node.name, credential, node.enabled, node.protocols, keys), shown)


def _password(name: str, _: Given) -> Credentials:
    password = secrets.token_urlsafe(32)
    return Credentials(credentials.make(password), shown={"username": name, "password": password})


def _certificate(name: str, given: Given) -> Credentials:
    common_name = given.common_name or name
    if not 1 <= len(common_name) <= 64:  # RFC 5280, ub-common-name
        raise ProvisioningError(f"common-name={common_name!r}: at most 64 characters")
    return Credentials(
        keys={CERTIFICATE_NAME: common_name} if common_name != name else {}, shown={"common-name": common_name}
    )


def _curve(_: str, given: Given) -> Credentials:
    import zmq
    from zmq.utils import z85

    from iot_gateway.listeners.zeromq.admission import KEY

    if given.public_key:
        try:
            readable = len(z85.decode(given.public_key.encode("ascii"))) == 32
        except (ValueError, KeyError):
            readable = False
        if not readable:
            raise ProvisioningError(f"public-key={given.public_key!r}: no CURVE key in Z85, 40 characters")
        return Credentials(keys={KEY: given.public_key}, shown={"public-key": given.public_key})
    public, secret = (key.decode() for key in zmq.curve_keypair())
    return Credentials(keys={KEY: public}, shown={"public-key": public, "secret-key": secret})


def _oscore(name: str, _: Given) -> Credentials:
    from iot_gateway.listeners.coap.security import make_keys

    keys = make_keys(name)
    return Credentials(keys=keys, shown=keys)


def _amqp(_: str, __: Given) -> Credentials:
    # Under which name the broker knows the node, and where it is, is for whoever has to do with the broker to say.
    password = secrets.token_urlsafe(32)
    return Credentials(keys={AMQP_PASSWORD_HASH: rabbitmq_password.make(password)}, shown={"amqp-password": password})


# Libraries of protocols are imported only for a node that speaks them.
_KINDS: Final[Mapping[str, _Kind]] = {
    "password": _Kind("mqtt", _password, lambda node: bool(node.credential)),
    "certificate": _Kind("mqtt", _certificate, lambda _: False),
    "curve": _Kind("zeromq", _curve, lambda node: "zeromq-public-key" in node.keys),
    "oscore": _Kind("coap", _oscore, lambda node: "oscore-secret" in node.keys),
    "amqp": _Kind("amqp", _amqp, lambda node: AMQP_PASSWORD_HASH in node.keys),
}
KINDS: Final = tuple(_KINDS)
