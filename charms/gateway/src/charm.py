#!/usr/bin/env python3
"""The charm of a site's gateway."""

import json
import logging
import secrets
from collections.abc import Iterator

import ops
from typing_extensions import override

import mosquitto
import relay
import smoke
from iot_charm.base import ReconcilingCharm, action
from iot_charm.interfaces.databag import bind_address, own_address
from iot_charm.interfaces.mqtt import PASSWORD, USERNAME, MqttGateway
from iot_charm.interfaces.rabbitmq import RabbitmqRequest
from iot_gateway.errors import NotRunningError
from state import AMQP, MQTT, VHOST, Broker, GatewayConfig, Nodes, RelatedNode, State, describe_nodes

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 15


class GatewayCharm(ReconcilingCharm[State]):
    """Runs the relay and the MQTT broker of a site, and gives its nodes their identities."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.follow(self.on.secret_changed)
        self.follow_relations(AMQP, MQTT)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.show_relay_status_action, self._on_show_relay_status)

    # What the machine should be

    @override
    def load_state(self) -> State:
        return State.from_charm(self, self.departing)

    @override
    def ask(self) -> None:
        for relation in self.active_relations(AMQP):
            RabbitmqRequest(username=self.app.name, vhost=VHOST, access="publish").publish(relation, self.unit)

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        config, broker, nodes = state.config, state.broker, state.nodes
        self._withdraw(nodes)
        # Before the relay is there nobody takes what nodes publish: so there are no identities yet.
        relayed = broker is not None or relay.is_installed()
        relay.install(self.charm_dir)
        mosquitto.ensure_broker(config.topic_prefix)
        credentials = {node.name: self._ensure_credentials(node) for node in nodes.wanted} if relayed else {}
        passwords = {name: found[1] for name, found in credentials.items()}
        self.unit.set_ports(config.mqtt_port)
        if broker is not None:
            settings = self._relay_settings(config, broker)
            if relay.ensure_relay(settings, broker.password, passwords):
                relay.wait_until_connected(CONNECT_SECONDS)
        elif relayed:
            relay.ensure_nodes(passwords)
        if relayed:
            self._publish(config, nodes, {name: found[0] for name, found in credentials.items()})

    def _withdraw(self, nodes: Nodes) -> None:
        """Remove the secrets of units that went, or that no longer can have the name they ask for."""
        wanted = {(node.relation.id, node.unit.name) for node in nodes.wanted}
        for relation in self.model.relations[MQTT]:
            published = MqttGateway.read(relation, self.unit)
            for unit, identifier in (published.credentials if published else {}).items():
                if (relation.id, unit) in wanted:
                    continue
                try:
                    self.model.get_secret(id=identifier).remove_all_revisions()
                except ops.SecretNotFoundError:
                    continue
                logger.info("the identity of %s is withdrawn", unit)

    def _ensure_credentials(self, node: RelatedNode) -> tuple[str, str]:
        """Return the identifier of the unit's secret and the password in it; make both where there are none."""
        label = f"mqtt-{node.relation.id}-{node.unit.name}"
        try:
            secret = self.model.get_secret(label=label)
            content = secret.peek_content()
            if content[USERNAME] != node.name:
                content = {USERNAME: node.name, PASSWORD: content[PASSWORD]}
                secret.set_content(content)
        except ops.SecretNotFoundError:
            content = {USERNAME: node.name, PASSWORD: secrets.token_urlsafe(32)}
            secret = self.unit.add_secret(content, label=label, description=f"MQTT identity of {node.name}")
            logger.info("%s gets an identity as node %s", node.unit.name, node.name)
        secret.grant(node.relation, unit=node.unit)
        # Not `secret.id`: a secret that was just added knows itself in another notation than one found again.
        return secret.get_info().id, content[PASSWORD]

    def _publish(self, config: GatewayConfig, nodes: Nodes, identifiers: dict[str, str]) -> None:
        for relation in self.active_relations(MQTT):
            MqttGateway(
                host=own_address(self, relation),
                port=config.mqtt_port,
                site=config.site,
                gateway=config.gateway(self.unit),
                topic_prefix=config.topic_prefix,
                credentials={
                    node.unit.name: identifiers[node.name] for node in nodes.wanted if node.relation.id == relation.id
                },
            ).publish(relation, self.unit)

    def _listener(self, config: GatewayConfig) -> relay.Listener:
        return relay.Listener(bind_address(self, MQTT), config.mqtt_port, config.topic_prefix)

    def _relay_settings(self, config: GatewayConfig, broker: Broker) -> relay.Settings:
        answer = broker.answer
        return relay.Settings(
            site=config.site,
            gateway=config.gateway(self.unit),
            listener=self._listener(config),
            batch_size=config.batch_size,
            batch_age=config.batch_age,
            batch_encoding=answer.batch_encoding,
            outbox_max_bytes=int(config.outbox_max_bytes),
            log_level=config.log_level,
            amqp_host=answer.hostname,
            amqp_port=answer.port,
            amqp_username=self.app.name,
            vhost=VHOST,
            exchange=answer.exchange,
            dead_letter_exchange=answer.dead_letter_exchange,
        )

    def _on_stop(self, _: ops.StopEvent) -> None:
        # Nodes first: what they can't hand over any more they keep.
        relay.stop()
        mosquitto.stop()

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        relay.remove()
        mosquitto.remove_unit()

    # What is

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        for problem in state.nodes.problems:
            yield ops.BlockedStatus(problem)
        if not self.active_relations(AMQP):
            yield ops.BlockedStatus("Missing required amqp relation")
        elif state.broker is None:
            yield ops.WaitingStatus("Waiting for RabbitMQ (amqp)")
        if not mosquitto.running():
            yield ops.BlockedStatus("mosquitto is not running: see journalctl -u mosquitto")
        if relay.is_installed():
            yield from self._relay_statuses(state.nodes)

    def _relay_statuses(self, nodes: Nodes) -> Iterator[ops.StatusBase]:
        try:
            seen = relay.status()
        except NotRunningError:
            yield ops.BlockedStatus(f"The relay is not running: see journalctl -u {relay.SERVICE}")
            return
        if seen["refusal"]:
            yield ops.BlockedStatus(f"Nothing is acknowledged: {seen['refusal']}")
        listener, uplink = seen["listeners"]["mqtt"], seen["uplink"]
        if not listener["connected"]:
            yield ops.WaitingStatus(f"Waiting for mosquitto: {listener['error'] or 'connecting'}")
        if not uplink["connected"]:
            stored = seen["outbox"]["telemetry"]["entries"]
            reason = uplink["error"] or "connecting"
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp), {stored} readings stored: {reason}")
        elif uplink["blocked"] or uplink["error"]:
            reason = uplink["error"] or "it is short of memory or disk"
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to take readings: {reason}")
        yield ops.ActiveStatus(describe_nodes(len(nodes.wanted), seen))

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        if not relay.is_installed():
            event.fail("the relay is not set up: it waits for RabbitMQ")
            return
        passwords = {node.name: self._ensure_credentials(node)[1] for node in state.nodes.wanted}
        password = secrets.token_urlsafe(32)
        relay.ensure_nodes({**passwords, mosquitto.PROBE_USER: password})
        try:
            result = smoke.run(self._listener(state.config), password, relay.status, event.params["timeout"])
        finally:
            relay.ensure_nodes(passwords)
        event.set_results({"result": "passed", "node": result.node, "milliseconds": round(result.seconds * 1000)})

    def _on_show_relay_status(self, event: ops.ActionEvent) -> None:
        try:
            seen = relay.status()
        except NotRunningError as error:
            event.fail(str(error))
            return
        telemetry = seen["outbox"]["telemetry"]
        event.set_results(
            {
                "received": seen["received"],
                "readings": seen["readings"],
                "confirmed": seen["confirmed"],
                "malformed": seen["malformed"],
                "dead-letters": seen["dead_letters_total"],
                "behind-seconds": seen["behind_seconds"],
                "outbox": {"readings": telemetry["entries"], "bytes": telemetry["bytes"]},
                "connected": {
                    "mqtt": seen["listeners"]["mqtt"]["connected"],
                    "amqp": seen["uplink"]["connected"],
                },
                "all": json.dumps(seen),
            }
        )


if __name__ == "__main__":
    ops.main(GatewayCharm)
