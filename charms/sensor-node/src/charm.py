#!/usr/bin/env python3
"""The charm of a node that sends telemetry to a gateway."""

import logging
import time

import ops
from pydantic import ValidationError

import node
from iot_charm.config import load_config
from iot_charm.errors import InvalidConfigError, InvalidDatabagError
from iot_charm.interfaces.mqtt import MqttNode
from state import MQTT, Gateway, GenerateData, NodeConfig

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 20.0
_SMOKE_TEST_TIMEOUT_S = 30.0


class SensorNodeCharm(ops.CharmBase):
    """Installs the node agent and keeps it configured for the gateway that serves it."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        mqtt = self.on[MQTT]
        for event in (
            self.on.install,
            self.on.start,
            self.on.config_changed,
            self.on.upgrade_charm,
            self.on.update_status,
            self.on.secret_changed,
            mqtt.relation_created,
            mqtt.relation_changed,
            mqtt.relation_departed,
            mqtt.relation_broken,
        ):
            framework.observe(event, self._reconcile)
        framework.observe(self.on.stop, self._stop)
        framework.observe(self.on.remove, self._remove)
        framework.observe(self.on.collect_unit_status, self._collect_status)
        framework.observe(self.on.smoke_test_action, self._smoke_test)
        framework.observe(self.on.generate_data_action, self._generate_data)

    @property
    def _instance(self) -> str:
        return self.unit.name.replace("/", "-")

    def _reconcile(self, _: ops.EventBase) -> None:
        """Make the machine and the relation match the state."""
        try:
            config = load_config(self, NodeConfig)
        except InvalidConfigError as error:
            logger.error("keeping the last good configuration: %s", error)
            return
        self.unit.status = ops.MaintenanceStatus("Setting up the node agent")
        installed = node.install(self.charm_dir)
        name = config.node(self.unit)
        relations = [relation for relation in self.model.relations[MQTT] if relation.active]
        for relation in relations:
            MqttNode(node=name).publish(relation, self.unit)
        if not relations:
            node.stop(self._instance)
            return
        try:
            gateway = Gateway.from_charm(self)
        except (InvalidDatabagError, ops.SecretNotFoundError) as error:
            logger.warning("not configured: %s", error)
            return
        # A gateway knows a node by its user name: under another one, it has not made the new identity yet.
        if gateway is None or gateway.username != name:
            return
        settings = node.Settings(
            instance=self._instance,
            node=name,
            profiles=config.profiles,
            actuators=config.actuator_names,
            interval=config.interval,
            log_level=config.log_level,
            host=gateway.host,
            port=gateway.port,
            topic_prefix=gateway.topic_prefix,
            commands_prefix=gateway.commands_prefix,
            username=gateway.username,
            password=gateway.password,
        )
        changed = node.configure(settings) or installed
        started = time.time()
        if node.start(settings, restart=changed):
            # The status that follows is to say whether the gateway takes what the agent sends.
            try:
                node.wait_for_acknowledgement(name, started, _CONNECT_TIMEOUT_S)
            except node.NodeError as error:
                logger.warning("the agent runs, but: %s", error)

    def _stop(self, _: ops.StopEvent) -> None:
        node.stop(self._instance)

    def _remove(self, _: ops.RemoveEvent) -> None:
        node.uninstall(self._instance)

    def _collect_status(self, event: ops.CollectStatusEvent) -> None:
        try:
            config = load_config(self, NodeConfig)
        except InvalidConfigError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        if not any(relation.active for relation in self.model.relations[MQTT]):
            event.add_status(ops.BlockedStatus("Missing required mqtt relation"))
            return
        name = config.node(self.unit)
        try:
            gateway = Gateway.from_charm(self)
        except InvalidDatabagError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        except ops.SecretNotFoundError:
            gateway = None
        if gateway is None or gateway.username != name:
            event.add_status(ops.WaitingStatus("Waiting for gateway"))
        elif not node.running(self._instance):
            service = node.service_name(self._instance)
            event.add_status(ops.BlockedStatus(f"The agent is not running: journalctl -u {service}"))
        else:
            event.add_status(self._agent_status(config, name, gateway))

    def _agent_status(self, config: NodeConfig, name: str, gateway: Gateway) -> ops.StatusBase:
        try:
            found = node.status(name)
        except node.NodeError:
            return ops.WaitingStatus("Waiting for gateway: the agent has just started")
        if found.problem:
            return ops.WaitingStatus(f"Waiting for gateway: {found.problem}")
        dropped = f", {found.dropped:,} packs dropped" if found.dropped else ""
        what = ", ".join(config.profiles)
        states = "".join(f", {name} {state}" for name, state in found.actuators.items())
        return ops.ActiveStatus(f"Ready ({what} every {config.interval} s to {gateway.name}{states}{dropped})")

    # Actions

    def _smoke_test(self, event: ops.ActionEvent) -> None:
        try:
            name = load_config(self, NodeConfig).node(self.unit)
        except InvalidConfigError as error:
            event.fail(str(error))
            return
        if not node.running(self._instance):
            event.fail("the agent is not running")
            return
        try:
            # A node with a long interval is not waited for: its last pack must have been acknowledged.
            last_sample = node.status(name).last_sample
            found = node.wait_for_acknowledgement(name, last_sample, _SMOKE_TEST_TIMEOUT_S)
        except node.NodeError as error:
            event.fail(str(error))
            return
        event.set_results(
            {
                "result": "passed",
                "node": name,
                "packs-acknowledged": found.acknowledged,
                "packs-waiting": found.waiting,
                "packs-dropped": found.dropped,
            }
        )

    def _generate_data(self, event: ops.ActionEvent) -> None:
        try:
            params = event.load_params(GenerateData)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            event.fail(f"{first['loc'][0]}={first['input']!r}: {first['msg']}")
            return
        try:
            gateway = Gateway.from_charm(self)
        except (InvalidDatabagError, ops.SecretNotFoundError) as error:
            event.fail(f"the gateway has not let this node in yet: {error}")
            return
        if gateway is None or not node.running(self._instance):
            event.fail("there is no gateway to send to yet: see the unit's status")
            return
        event.log(f"sending {params.count:,} readings to {gateway.name}")
        try:
            sent = node.generate(
                self._instance,
                count=params.count,
                rate=params.rate,
                seed=params.seed,
                timeout=params.timeout,
                progress=event.log,
            )
        except node.NodeError as error:
            event.fail(str(error))
            return
        event.set_results({"node": sent.node, "sent": sent.sent, "seconds": sent.seconds, "rate": sent.rate})


if __name__ == "__main__":
    ops.main(SensorNodeCharm)
