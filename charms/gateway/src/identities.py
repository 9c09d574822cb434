"""The identities of related units: a secret of this unit for each, which that unit alone can read."""

import logging
import secrets
from typing import NamedTuple

import ops

from iot_charm.interfaces.mqtt import PASSWORD, USERNAME, MqttGateway
from state import MQTT, Nodes, RelatedNode

logger = logging.getLogger(__name__)

LABEL = "mqtt-"
"""Begins the label of an identity's secret."""


class Identity(NamedTuple):
    """How a related node proves who it is."""

    secret_id: str
    password: str


class Identities:
    """Makes, changes and withdraws them."""

    def __init__(self, charm: ops.CharmBase):
        self._charm = charm
        self._rotated: dict[str, str] = {}
        """New passwords of this hook, which a secret shows only after it."""

    def ensure(self, node: RelatedNode) -> Identity:
        """Return a unit's identity; make it where there is none."""
        label = _label(node)
        try:
            secret = self._charm.model.get_secret(label=label)
            content = secret.peek_content()
            if content[USERNAME] != node.name:
                content = {USERNAME: node.name, PASSWORD: content[PASSWORD]}
                secret.set_content(content)
        except ops.SecretNotFoundError:
            content = {USERNAME: node.name, PASSWORD: secrets.token_urlsafe(32)}
            secret = self._charm.unit.add_secret(content, label=label, description=f"MQTT identity of {node.name}")
            logger.info("%s gets an identity as node %s", node.unit.name, node.name)
        secret.grant(node.relation, unit=node.unit)
        # Not `secret.id`: a secret that was just added knows itself in another notation than one found again.
        return Identity(secret.get_info().id, self._rotated.get(label, content[PASSWORD]))

    def rotate(self, node: RelatedNode) -> None:
        """Give a unit another password, as a new revision of its secret."""
        password = self._rotated[_label(node)] = secrets.token_urlsafe(32)
        self._charm.model.get_secret(label=_label(node)).set_content({USERNAME: node.name, PASSWORD: password})
        logger.info("%s gets another password as node %s", node.unit.name, node.name)

    def withdraw_others(self, nodes: Nodes) -> None:
        """Remove the secrets of units that went, or that no longer can have the name they ask for."""
        wanted = {(node.relation.id, node.unit.name) for node in nodes.wanted}
        for relation in self._charm.model.relations[MQTT]:
            published = MqttGateway.read(relation, self._charm.unit)
            for unit, identifier in (published.credentials if published else {}).items():
                if (relation.id, unit) in wanted:
                    continue
                try:
                    self._charm.model.get_secret(id=identifier).remove_all_revisions()
                except ops.SecretNotFoundError:
                    continue
                logger.info("the identity of %s is withdrawn", unit)


def _label(node: RelatedNode) -> str:
    return f"{LABEL}{node.relation.id}-{node.unit.name}"
