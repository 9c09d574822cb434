#!/usr/bin/env python3
"""The charm of a site's gateway."""

import json
import logging
import secrets

import ops

import mosquitto
import relay
import smoke
from iot_charm.config import load_config
from iot_charm.errors import InvalidConfigError, InvalidDatabagError
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.mqtt import PASSWORD, USERNAME, MqttGateway
from iot_charm.interfaces.rabbitmq import RabbitmqRequest
from iot_gateway.errors import NotRunningError
from state import AMQP, MQTT, VHOST, Broker, GatewayConfig, Nodes, RelatedNode, describe_nodes

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 15


class GatewayCharm(ops.CharmBase):
    """Runs the relay and the MQTT broker of a site, and gives its nodes their identities."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        for event in (
            self.on.install,
            self.on.start,
            self.on.config_changed,
            self.on.upgrade_charm,
            self.on.update_status,
            self.on.secret_changed,
            self.on[AMQP].relation_created,
            self.on[AMQP].relation_changed,
            self.on[AMQP].relation_broken,
            self.on[MQTT].relation_created,
            self.on[MQTT].relation_changed,
            self.on[MQTT].relation_departed,
            self.on[MQTT].relation_broken,
        ):
            framework.observe(event, self._reconcile)
        framework.observe(self.on.stop, self._stop)
        framework.observe(self.on.remove, self._remove)
        framework.observe(self.on.collect_unit_status, self._collect_status)
        framework.observe(self.on.smoke_test_action, self._smoke_test)
        framework.observe(self.on.show_relay_status_action, self._show_relay_status)

    # What the machine should be

    def _reconcile(self, event: ops.EventBase) -> None:
        """Make the machine and the relations match the state."""
        for relation in self.model.relations[AMQP]:
            if relation.active:
                RabbitmqRequest(username=self.app.name, vhost=VHOST, access="publish").publish(relation, self.unit)
        try:
            config = load_config(self, GatewayConfig)
            broker = Broker.from_charm(self)
        except (InvalidConfigError, InvalidDatabagError) as error:
            logger.error("keeping the last good configuration: %s", error)
            return
        departing = event.departing_unit if isinstance(event, ops.RelationDepartedEvent) else None
        nodes = Nodes.from_charm(self, departing)
        self._withdraw(nodes)
        self.unit.status = ops.MaintenanceStatus("Setting up the gateway")
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
        for relation in self.model.relations[MQTT]:
            if not relation.active:
                continue
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
        binding = self.model.get_binding(MQTT)
        address = binding.network.bind_address if binding else None
        if address is None:
            raise ops.ModelError(f"no address for endpoint {MQTT}")
        return relay.Listener(str(address), config.mqtt_port, config.topic_prefix)

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

    def _stop(self, _: ops.StopEvent) -> None:
        # Nodes first: what they can't hand over any more they keep.
        relay.stop()
        mosquitto.stop()

    def _remove(self, _: ops.RemoveEvent) -> None:
        relay.remove()
        mosquitto.remove_unit()

    # What is

    def _collect_status(self, event: ops.CollectStatusEvent) -> None:
        try:
            load_config(self, GatewayConfig)
            broker = Broker.from_charm(self)
        except (InvalidConfigError, InvalidDatabagError) as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        nodes = Nodes.from_charm(self)
        for problem in nodes.problems:
            event.add_status(ops.BlockedStatus(problem))
        if not any(relation.active for relation in self.model.relations[AMQP]):
            event.add_status(ops.BlockedStatus("Missing required amqp relation"))
        elif broker is None:
            event.add_status(ops.WaitingStatus("Waiting for RabbitMQ (amqp)"))
        if not mosquitto.running():
            event.add_status(ops.BlockedStatus("mosquitto is not running: see journalctl -u mosquitto"))
        if relay.is_installed():
            self._collect_relay_status(event, nodes)

    def _collect_relay_status(self, event: ops.CollectStatusEvent, nodes: Nodes) -> None:
        try:
            seen = relay.status()
        except NotRunningError:
            event.add_status(ops.BlockedStatus(f"The relay is not running: see journalctl -u {relay.SERVICE}"))
            return
        if seen["refusal"]:
            event.add_status(ops.BlockedStatus(f"Nothing is acknowledged: {seen['refusal']}"))
        listener, uplink = seen["listeners"]["mqtt"], seen["uplink"]
        if not listener["connected"]:
            event.add_status(ops.WaitingStatus(f"Waiting for mosquitto: {listener['error'] or 'connecting'}"))
        if not uplink["connected"]:
            stored = seen["outbox"]["telemetry"]["entries"]
            reason = uplink["error"] or "connecting"
            event.add_status(ops.WaitingStatus(f"Waiting for RabbitMQ (amqp), {stored} readings stored: {reason}"))
        elif uplink["blocked"] or uplink["error"]:
            reason = uplink["error"] or "it is short of memory or disk"
            event.add_status(ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to take readings: {reason}"))
        event.add_status(ops.ActiveStatus(describe_nodes(len(nodes.wanted), seen)))

    # Actions

    def _smoke_test(self, event: ops.ActionEvent) -> None:
        try:
            config = load_config(self, GatewayConfig)
        except InvalidConfigError as error:
            event.fail(str(error))
            return
        if not relay.is_installed():
            event.fail("the relay is not set up: it waits for RabbitMQ")
            return
        passwords = {node.name: self._ensure_credentials(node)[1] for node in Nodes.from_charm(self).wanted}
        password = secrets.token_urlsafe(32)
        relay.ensure_nodes({**passwords, mosquitto.PROBE_USER: password})
        try:
            result = smoke.run(self._listener(config), password, relay.status, event.params["timeout"])
        except smoke.SmokeTestError as error:
            event.fail(str(error))
            return
        finally:
            relay.ensure_nodes(passwords)
        event.set_results({"result": "passed", "node": result.node, "milliseconds": round(result.seconds * 1000)})

    def _show_relay_status(self, event: ops.ActionEvent) -> None:
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
