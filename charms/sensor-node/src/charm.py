#!/usr/bin/env python3
"""The charm of a node that sends telemetry to a gateway."""

import logging
import time
from collections.abc import Iterator

import ops
from pydantic import ValidationError
from typing_extensions import override

import node
from iot_charm.base import ReconcilingCharm, action
from iot_charm.config import load_config
from iot_charm.interfaces.mqtt import MqttNode
from iot_charm.tls import UnitCertificate, Wanted
from state import CERTIFICATES, MQTT, Gateway, GenerateData, NodeConfig, State

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 20.0
_SMOKE_TEST_TIMEOUT_S = 30.0


class SensorNodeCharm(ReconcilingCharm[State]):
    """Installs the node agent and keeps it configured for the gateway that serves it."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self._certificate = UnitCertificate(self, CERTIFICATES, self._wanted_certificate)
        self.follow(self.on.secret_changed)
        self.follow_relations(MQTT, CERTIFICATES)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.generate_data_action, self._on_generate_data)

    @property
    def _instance(self) -> str:
        return self.unit.name.replace("/", "-")

    @override
    def load_state(self) -> State:
        return State.from_charm(self, self._certificate)

    @override
    def ask(self) -> None:
        self._certificate.ask()

    def _wanted_certificate(self) -> Wanted:
        # Not by the options' model: while one of them can't be, the certificate goes on being what it is.
        return Wanted(str(self.config["node_name"]) or self._instance)

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        node.install(self.charm_dir)
        self.publish(MQTT, MqttNode(node=state.node))
        if not state.related:
            node.stop(self._instance)
            return
        gateway = state.gateway
        if gateway is None or state.obstacle is not None:
            return
        settings = _settings(self._instance, state, gateway)
        if settings.tls is None and node.uses_tls(self._instance):
            logger.warning("gateway %s offers TLS no more: nothing is encrypted from now on", gateway.name)
        node.configure(settings)
        started = time.time()
        if node.start(settings, restart=restart):
            # The status that follows is to say whether the gateway takes what the agent sends.
            try:
                node.wait_for_acknowledgement(state.node, started, _CONNECT_TIMEOUT_S)
            except node.NodeError as error:
                logger.warning("the agent runs, but: %s", error)

    def _on_stop(self, _: ops.StopEvent) -> None:
        node.stop(self._instance)

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        node.uninstall(self._instance)

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if not state.related:
            yield ops.BlockedStatus("Missing required mqtt relation")
        elif state.gateway is None:
            yield ops.WaitingStatus("Waiting for gateway")
        elif state.obstacle is not None:
            yield state.obstacle
        elif not node.running(self._instance):
            service = node.service_name(self._instance)
            yield ops.BlockedStatus(f"The agent is not running: journalctl -u {service}")
        else:
            yield self._agent_status(state, state.gateway)

    def _agent_status(self, state: State, gateway: Gateway) -> ops.StatusBase:
        try:
            found = node.status(state.node)
        except node.NodeError:
            return ops.WaitingStatus("Waiting for gateway: the agent has just started")
        if found.problem:
            return ops.WaitingStatus(f"Waiting for gateway: {found.problem}")
        dropped = f", {found.dropped:,} packs dropped" if found.dropped else ""
        what = ", ".join(state.config.profiles)
        secured = " over TLS" if gateway.tls_port else ""
        states = "".join(f", {name} {told}" for name, told in found.actuators.items())
        return ops.ActiveStatus(
            f"Ready ({what} every {state.config.interval} s to {gateway.name}{secured}{states}{dropped})"
        )

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        name = load_config(self, NodeConfig).node(self.unit)
        if not node.running(self._instance):
            event.fail("the agent is not running")
            return
        # A node with a long interval is not waited for: its last pack must have been acknowledged.
        last_sample = node.status(name).last_sample
        found = node.wait_for_acknowledgement(name, last_sample, _SMOKE_TEST_TIMEOUT_S)
        event.set_results(
            {
                "result": "passed",
                "node": name,
                "packs-acknowledged": found.acknowledged,
                "packs-waiting": found.waiting,
                "packs-dropped": found.dropped,
            }
        )

    @action
    def _on_generate_data(self, event: ops.ActionEvent) -> None:
        try:
            params = event.load_params(GenerateData)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            event.fail(f"{first['loc'][0]}={first['input']!r}: {first['msg']}")
            return
        state = self.load_state()
        gateway = state.gateway
        if state.related and gateway is None:
            event.fail("the gateway has not let this node in yet")
            return
        if gateway is None or not node.running(self._instance):
            event.fail("there is no gateway to send to yet: see the unit's status")
            return
        event.log(f"sending {params.count:,} readings to {gateway.name}")
        sent = node.generate(
            self._instance,
            count=params.count,
            rate=params.rate,
            seed=params.seed,
            timeout=params.timeout,
            progress=event.log,
        )
        event.set_results({"node": sent.node, "sent": sent.sent, "seconds": sent.seconds, "rate": sent.rate})


def _settings(instance: str, state: State, gateway: Gateway) -> node.Settings:
    config = state.config
    return node.Settings(
        instance=instance,
        node=state.node,
        profiles=config.profiles,
        actuators=config.actuator_names,
        interval=config.interval,
        log_level=config.log_level,
        host=gateway.host,
        port=gateway.tls_port or gateway.port,
        topic_prefix=gateway.topic_prefix,
        commands_prefix=gateway.commands_prefix,
        username=gateway.username,
        password=gateway.password,
        tls=_tls(state, gateway),
    )


def _tls(state: State, gateway: Gateway) -> node.Tls | None:
    if not gateway.tls_port:
        return None
    if state.certificate is None or gateway.client_certificates == "off":
        return node.Tls(gateway.ca)
    return node.Tls(gateway.ca, state.certificate.certificate, state.certificate.key)


if __name__ == "__main__":
    ops.main(SensorNodeCharm)
