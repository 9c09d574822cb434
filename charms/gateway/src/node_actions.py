"""The actions that add, change and show the site's nodes."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ops
from pydantic import BaseModel, ConfigDict

import mosquitto
import node_tables
import relay
from actions import relay_action
from identities import Identities
from iot_charm.errors import IotCharmError
from iot_gateway.errors import NotRunningError
from iot_gateway.nodes import Node
from iot_gateway.nodes.node import CERTIFICATE_NAME
from iot_gateway.nodes.provisioning import Given, Provisioned, provision, rotate
from registry import Registry
from state import Nodes, RelatedNode

logger = logging.getLogger(__name__)

_DEFAULT_KINDS: Mapping[str, str] = {"mqtt": "password", "coap": "oscore", "zeromq": "curve"}
"""What a stranger is given, by the protocol that it tried."""


class NodeActionError(IotCharmError):
    """An action on a node can't be done; the text names the value and what to do."""


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str


class _NewNode(_Named):
    credentials: str = ""
    protocols: str = ""
    public_key: str = ""
    common_name: str = ""

    @property
    def given(self) -> Given:
        return Given(self.public_key, self.common_name)


class _Rotation(_Named):
    public_key: str = ""


class _Listing(BaseModel):
    model_config = ConfigDict(frozen=True)

    state: str = "all"
    limit: int = 100


class NodeActions(ops.Object):
    """Observes the actions."""

    def __init__(
        self, charm: ops.CharmBase, registry: Registry, identities: Identities, serve: Callable[[], Mapping[str, str]]
    ):
        """Observe.

        Args:
            charm: whose actions.
            registry: where added nodes are kept.
            identities: of related nodes.
            serve: has the relay follow, and returns where nodes find it, in the words of an action's results.
        """
        super().__init__(charm, "node-actions")
        self._charm = charm
        self._registry = registry
        self._identities = identities
        self._serve = serve
        for event, handler in (
            (charm.on["add-node"].action, self._on_add),
            (charm.on["approve-node"].action, self._on_approve),
            (charm.on["remove-node"].action, self._on_remove),
            (charm.on["rotate-node-credentials"].action, self._on_rotate),
            (charm.on["enable-node"].action, self._on_enable),
            (charm.on["disable-node"].action, self._on_disable),
            (charm.on["list-nodes"].action, self._on_list),
            (charm.on["list-strangers"].action, self._on_list_strangers),
        ):
            self.framework.observe(event, handler)

    @relay_action
    def _on_add(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(_NewNode)
        self._add(event, wanted, _words(wanted.credentials) or ["password"])

    @relay_action
    def _on_approve(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(_NewNode)
        tried = [stranger["protocol"] for stranger in _strangers() if stranger["name"] == wanted.name]
        if not tried:
            raise NodeActionError(
                f"name={wanted.name!r}: no unknown node of that name tried to reach {self._charm.unit.name}; "
                "list-strangers shows who did, add-node adds one that did not"
            )
        kinds = list(dict.fromkeys(_DEFAULT_KINDS.get(protocol, "password") for protocol in tried))
        self._add(event, wanted, _words(wanted.credentials) or kinds)

    def _add(self, event: ops.ActionEvent, wanted: _NewNode, kinds: list[str]) -> None:
        made = provision(wanted.name, kinds, wanted.given, _words(wanted.protocols))
        self._refuse_known(made.node.name)
        self._refuse_clash(made.node)
        self._registry.put(made.node)
        logger.info("node %s is added", wanted.name)
        self._show(event, made)

    @relay_action
    def _on_remove(self, event: ops.ActionEvent) -> None:
        name = event.load_params(_Named).name
        related = self._related.get(name)
        if related is not None:
            raise NodeActionError(
                f"name={name!r}: the node is that of unit {related.unit.name}: remove the unit or its relation, "
                "or run disable-node"
            )
        self._registry.remove(self._added(name).name)
        self._serve()
        logger.info("node %s is removed", name)
        event.set_results({"node": name, "result": "removed; its connections are ended"})

    @relay_action
    def _on_rotate(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(_Rotation)
        related = self._related.get(wanted.name)
        if related is None:
            made = rotate(self._added(wanted.name), Given(wanted.public_key))
            self._refuse_clash(made.node)
            self._registry.put(made.node)
            logger.info("node %s gets other credentials", wanted.name)
            self._show(event, made)
            return
        if not relay.is_installed():
            raise NodeActionError("the relay is not set up, so no unit has credentials yet: it waits for RabbitMQ")
        self._identities.ensure(related)
        self._identities.rotate(related)
        self._serve()
        event.set_results(
            {"node": wanted.name, "result": f"{related.unit.name} gets the new password as its secret's next revision"}
        )

    @relay_action
    def _on_enable(self, event: ops.ActionEvent) -> None:
        self._set_enabled(event, enabled=True)

    @relay_action
    def _on_disable(self, event: ops.ActionEvent) -> None:
        self._set_enabled(event, enabled=False)

    def _set_enabled(self, event: ops.ActionEvent, *, enabled: bool) -> None:
        name = event.load_params(_Named).name
        if name in self._related:
            self._registry.suspend(name, suspended=not enabled)
        else:
            self._registry.put(replace(self._added(name), enabled=enabled))
        self._serve()
        logger.info("node %s is %s", name, "enabled" if enabled else "disabled")
        event.set_results({"node": name, "result": "enabled" if enabled else "disabled; its connections are ended"})

    @relay_action
    def _on_list(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(_Listing)
        try:
            states = relay.node_states()
        except NotRunningError:
            states = None
        rows = node_tables.rows(self._registry.nodes.values(), self._related, self._registry.suspended, states)
        chosen = [row for row in rows if wanted.state in ("all", row.state)]
        shown = chosen[: wanted.limit]
        event.set_results(
            {
                "nodes": len(rows),
                "connected": sum(row.state == "connected" for row in rows) if states is not None else "unknown",
                "listed": f"{len(shown)} of {len(chosen)}",
                "table": node_tables.table(shown),
                "all": json.dumps([row.as_dict() for row in shown]),
            }
        )

    @relay_action
    def _on_list_strangers(self, event: ops.ActionEvent) -> None:
        strangers = _strangers()
        event.set_results(
            {
                "strangers": len(strangers),
                "table": node_tables.strangers_table(strangers),
                "all": json.dumps(strangers),
            }
        )

    # What they share

    @property
    def _related(self) -> dict[str, RelatedNode]:
        return {node.name: node for node in Nodes.from_charm(self._charm, self._registry.nodes).wanted}

    def _added(self, name: str) -> Node:
        node = self._registry.nodes.get(name)
        if node is None:
            raise NodeActionError(f"name={name!r}: no node is called so; list-nodes shows those that there are")
        return node

    def _refuse_known(self, name: str) -> None:
        if name in mosquitto.RESERVED:
            raise NodeActionError(f"name={name!r}: the gateway uses that name itself")
        if (related := self._related.get(name)) is not None:
            raise NodeActionError(f"name={name!r}: the node of unit {related.unit.name} is called so")
        if name in self._registry.nodes:
            raise NodeActionError(
                f"name={name!r}: the node is there already; rotate-node-credentials gives it new credentials, "
                "remove-node removes it"
            )

    def _refuse_clash(self, node: Node) -> None:
        """Have every common name and key lead to one node alone.

        Raises:
            NodeActionError: another node has one of them.
        """
        common_name = node.keys.get(CERTIFICATE_NAME, node.name)
        for other in self._registry.nodes.values():
            if other.name == node.name:
                continue
            if common_name in (other.name, other.keys.get(CERTIFICATE_NAME)):
                raise NodeActionError(f"common-name={common_name!r}: it is that of node {other.name}")
            for kind in ("zeromq-public-key", "oscore-id"):
                if kind in node.keys and node.keys[kind] == other.keys.get(kind):
                    raise NodeActionError(f"{kind}={node.keys[kind]!r}: it is that of node {other.name}")
        if common_name in self._related:
            raise NodeActionError(f"common-name={common_name!r}: it is that of a related unit's node")

    def _show(self, event: ops.ActionEvent, made: Provisioned) -> None:
        by_amqp = "amqp-password" in made.shown
        where = {
            key: text.replace("<node>", made.node.name)
            for key, text in self._serve().items()
            if by_amqp or not key.startswith("amqp-")
        }
        event.set_results(
            {
                "node": made.node.name,
                "protocols": ",".join(sorted(made.node.protocols or ())),
                **made.shown,
                **where,
                "note": "the credentials are shown this once; the gateway can't show them again",
            }
        )


def _strangers() -> list[dict[str, Any]]:
    return relay.status()["nodes"]["inbox"]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
