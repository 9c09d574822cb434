#!/usr/bin/env python3
"""The charm of a site's gateway."""

import dataclasses
import json
import logging
import secrets
import socket
from collections.abc import Iterator, Mapping

import ops
import zmq
from typing_extensions import override

import amqp_route
import mosquitto
import relay
import relay_settings
import smoke
import tls_files
from actions import relay_action
from amqp_nodes import AmqpNodes
from command_actions import CommandActions
from identities import Identities, Identity
from iot_charm.base import ReconcilingCharm, action
from iot_charm.errors import InvalidConfigError
from iot_charm.interfaces.databag import bind_address, own_address
from iot_charm.interfaces.mqtt import MqttGateway
from iot_charm.interfaces.rabbitmq import RabbitmqRequest
from iot_charm.tls import UnitCertificate, Wanted, names
from iot_gateway import words
from iot_gateway.errors import NotRunningError
from node_actions import NodeActions
from options import GatewayConfig, host_names, load
from registry import PEERS, Registry
from state import AMQP, CERTIFICATES, MQTT, VHOST, Broker, Nodes, State, describe_nodes

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 15


class GatewayCharm(ReconcilingCharm[State]):
    """Runs the relay and the MQTT broker of a site, and gives its nodes their identities."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.follow(self.on.secret_changed)
        self.follow_relations(AMQP, MQTT, PEERS, CERTIFICATES)
        # It drops revisions that nobody reads any more as well, of whatever secret.
        self._certificate = UnitCertificate(self, CERTIFICATES, self._wanted_certificate)
        self._registry = Registry(self)
        self._identities = Identities(self)
        self._amqp_nodes = AmqpNodes(self, self._registry)
        self._command_actions = CommandActions(self)
        self._node_actions = NodeActions(self, self._registry, self._identities, self._serve_nodes)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.show_relay_status_action, self._on_show_relay_status)
        framework.observe(self.on.plan_buffer_action, self._on_plan_buffer)

    # What the machine should be

    @override
    def load_state(self) -> State:
        return State.from_charm(self, self._registry, self._certificate, self.departing)

    @override
    def ask(self) -> None:
        try:
            config = load(self)
        except InvalidConfigError:
            config = None
        for relation in self.active_relations(AMQP):
            if config is not None:
                self._ask_rabbitmq(config, relation)
            elif RabbitmqRequest.read(relation, self.unit) is None:
                # With an option that can't be, what was asked for stays.
                RabbitmqRequest(username=self.app.name, vhost=VHOST, access="publish").publish(relation, self.unit)
        if config is not None and not config.amqp:
            self._amqp_nodes.withdraw()
        self._certificate.ask()

    def _ask_rabbitmq(self, config: GatewayConfig, relation: ops.Relation) -> None:
        nodes = self._amqp_nodes.ensure_secret(relation) if config.amqp else ""
        reached = sorted(host_names(",".join(self._reached_at()))) if config.amqp else []
        RabbitmqRequest(
            username=self.app.name,
            vhost=VHOST,
            access="publish",
            commands=config.key(self.unit),
            nodes_secret=nodes,
            reached_at=",".join(reached),
        ).publish(relation, self.unit)

    def _wanted_certificate(self) -> Wanted:
        return Wanted(self.unit.name.replace("/", "-"), self._reached_at())

    def _reached_at(self) -> frozenset[str]:
        """Return the names and addresses by which nodes reach this unit."""
        # Not by the options' model: while one of them can't be, the certificate goes on being what it is.
        reached = [own_address(self, relation) for relation in self.active_relations(MQTT)]
        own = [bind_address(self, MQTT), socket.getfqdn()]
        return names(reached, own, host_names(str(self.config["certificate_names"])))

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        config, broker, tls = state.config, state.usable_broker, self._tls(state)
        self._identities.withdraw_others(state.nodes)
        # Before the relay is there nobody takes what nodes publish: so there are no identities yet.
        relayed = broker is not None or relay.is_installed()
        relay.install(self.charm_dir)
        mosquitto.ensure_broker(config.topic_prefix, config.commands_prefix)
        identities = self._ensure_identities(state) if relayed else {}
        if config.zeromq and self.unit.is_leader():
            self._registry.make_curve_key()
        zeromq = self._zeromq(config)
        routes = self._amqp_nodes.routes(state, self._addresses())
        tcp = [config.mqtt_port, tls.port if tls else 0, *((zeromq.pull_port, zeromq.router_port) if zeromq else ())]
        ports: list[int | ops.Port] = [port for port in (*tcp, *(route.port for route in routes)) if port]
        self.unit.set_ports(*ports, *([ops.Port("udp", config.coap_port)] if config.coap else []))
        if broker is not None:
            settings = self._relay_settings(state, broker, tls)
            if relay.ensure_relay(settings, broker.password, _roster(state, identities)):
                relay.wait_until_connected(CONNECT_SECONDS)
        elif relayed:
            relay.ensure_nodes(_roster(state, identities))
        if relayed:
            self._publish(config, state.nodes, identities, tls)
        amqp_route.ensure_routes(routes)

    def _addresses(self) -> list[str]:
        """Return the addresses on which nodes find this unit."""
        return list(dict.fromkeys((relay_settings.LOOPBACK, bind_address(self, MQTT))))

    def _zeromq(self, config: GatewayConfig) -> relay_settings.ZeroMq | None:
        """Return the ZeroMQ listener's settings; None while there is none, or no key yet."""
        key = self._registry.curve_key if config.zeromq else ""
        return relay_settings.ZeroMq(config.zeromq_pull_port, config.zeromq_router_port, key) if key else None

    def _tls(self, state: State) -> relay_settings.Tls | None:
        """Return the encrypted listener's settings; with the former certificate while another one is waited for."""
        if not self._certificate.is_related:
            return None
        found = state.certificate
        certificate = found.certificate if found else tls_files.kept(tls_files.CERTIFICATE)
        key = found.key if found else tls_files.kept(tls_files.KEY)
        ca = found.ca if found else tls_files.kept(tls_files.LISTENER_CA)
        if not (certificate and key and ca):
            return None
        config = state.config
        if config.client_certificates == "off":
            return relay_settings.Tls(config.mqtt_tls_port, certificate, key, ca)
        return relay_settings.Tls(
            config.mqtt_tls_port, certificate, key, ca, config.client_ca or ca, config.client_certificates
        )

    def _ensure_identities(self, state: State) -> dict[str, Identity]:
        return {node.name: self._identities.ensure(node) for node in state.nodes.wanted}

    def _serve_nodes(self) -> dict[str, str]:
        """Have the relay let in those who are known now, and say where they find it."""
        state = self.load_state()
        if relay.is_installed():
            relay.ensure_nodes(_roster(state, self._ensure_identities(state)))
        self._amqp_nodes.update()
        listener = self._listener(state.config, self._tls(state))
        coap_port = state.config.coap_port if state.config.coap else 0
        zeromq = self._zeromq(state.config)
        ports = {
            "port": listener.port,
            "tls-port": listener.tls_port,
            "coap-port": coap_port,
            "zeromq-pull-port": zeromq.pull_port if zeromq else 0,
            "zeromq-router-port": zeromq.router_port if zeromq else 0,
        }
        return {
            "host": listener.address,
            **{name: str(port) for name, port in ports.items() if port},
            **({"ca": listener.ca} if listener.ca else {}),
            **({"zeromq-server-key": zmq.curve_public(zeromq.secret_key.encode()).decode()} if zeromq else {}),
            "topic": f"{listener.topic_prefix}/<node>",
            **self._amqp_nodes.shown(state),
        }

    def _publish(
        self, config: GatewayConfig, nodes: Nodes, identities: Mapping[str, Identity], tls: relay_settings.Tls | None
    ) -> None:
        for relation in self.active_relations(MQTT):
            MqttGateway(
                host=own_address(self, relation),
                port=config.mqtt_port,
                tls_port=tls.port if tls else 0,
                ca=tls.ca if tls else "",
                client_certificates=config.client_certificates if tls else "off",
                site=config.site,
                gateway=config.gateway(self.unit),
                topic_prefix=config.topic_prefix,
                commands_prefix=config.commands_prefix,
                credentials={
                    node.unit.name: identities[node.name].secret_id
                    for node in nodes.wanted
                    if node.relation.id == relation.id
                },
            ).publish(relation, self.unit)

    def _listener(self, config: GatewayConfig, tls: relay_settings.Tls | None) -> relay_settings.Listener:
        return relay_settings.Listener(
            bind_address(self, MQTT),
            config.mqtt_port,
            config.topic_prefix,
            config.commands_prefix,
            tls.port if tls else 0,
            tls.ca if tls else "",
        )

    def _relay_settings(self, state: State, broker: Broker, tls: relay_settings.Tls | None) -> relay_settings.Settings:
        config, answer = state.config, broker.answer
        return relay_settings.Settings(
            site=config.site,
            gateway=config.gateway(self.unit),
            listener=self._listener(config, tls),
            batch_size=config.batch_size,
            batch_age=config.batch_age,
            batch_encoding=answer.batch_encoding,
            outbox=relay_settings.Outbox(
                max_bytes=int(config.outbox_max_bytes),
                full=config.outbox_full,
                max_age=config.outbox_max_age,
                resend_order=config.resend_order,
                resend_rate=config.resend_rate,
            ),
            metrics_port=config.metrics_port,
            log_level=config.log_level,
            amqp_host=answer.hostname,
            amqp_port=answer.ssl_port if answer.ca else answer.port,
            amqp_username=self.app.name,
            vhost=VHOST,
            exchange=answer.exchange,
            dead_letter_exchange=answer.dead_letter_exchange,
            tls=tls,
            zeromq=self._zeromq(config),
            coap=relay_settings.Coap(config.coap_port, config.coap_plain, config.lwm2m) if config.coap else None,
            amqp=self._amqp_nodes.listener(state),
            plain=config.plain_topics,
            amqp_ca=answer.ca,
            commands_queue=answer.commands_queue(config.key(self.unit)),
        )

    def _on_stop(self, _: ops.StopEvent) -> None:
        # Nodes first: what they can't hand over any more they keep.
        amqp_route.stop()
        relay.stop()
        mosquitto.stop()

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        amqp_route.ensure_routes(())
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
        elif state.usable_broker is None:
            yield ops.WaitingStatus("Waiting for RabbitMQ (amqp) to offer TLS, as uplink_tls=required wants it")
        yield from self._tls_statuses(state)
        if not mosquitto.running():
            yield ops.BlockedStatus("mosquitto is not running: see journalctl -u mosquitto")
        if relay.is_installed():
            yield from self._relay_statuses(state)

    def _tls_statuses(self, state: State) -> Iterator[ops.StatusBase]:
        config = state.config
        if self._certificate.is_related:
            if state.certificate is None:
                yield ops.WaitingStatus("Waiting for a certificate (certificates)")
        elif config.mqtt_port == 0:
            yield ops.BlockedStatus("mqtt_port=0: nodes need TLS then, but the certificates relation is missing")
        elif config.client_certificates != "off":
            yield ops.BlockedStatus(
                f"client_certificates={config.client_certificates}: it needs TLS, "
                "but the certificates relation is missing"
            )

    def _relay_statuses(self, state: State) -> Iterator[ops.StatusBase]:
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
        zeromq = seen["listeners"].get("zeromq", {})
        if zeromq.get("error"):
            yield ops.BlockedStatus(f"ZeroMQ can't listen, see zeromq_pull_port, zeromq_router_port: {zeromq['error']}")
        elif state.config.zeromq and self._zeromq(state.config) is None:
            yield ops.WaitingStatus("Waiting for the leader to make the key for ZeroMQ")
        coap = seen["listeners"].get("coap", {})
        if coap.get("error"):
            yield ops.BlockedStatus(f"CoAP can't listen, see coap_port: {coap['error']}")
        if not uplink["connected"]:
            behind = words.behind(seen["outbox"]["telemetry"])
            reason = uplink["error"] or "connecting"
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp), {behind}: {reason}")
        elif uplink["blocked"] or uplink["error"]:
            reason = uplink["error"] or "it is short of memory or disk"
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to take readings: {reason}")
        elif (commands := uplink.get("commands")) and commands["error"]:
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to give commands: {commands['error']}")
        yield from self._amqp_nodes.statuses(state, seen["listeners"].get("amqp", {}))
        yield ops.ActiveStatus(describe_nodes(state.known_nodes, seen))

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        if not relay.is_installed():
            event.fail("the relay is not set up: it waits for RabbitMQ")
            return
        roster = _roster(state, self._ensure_identities(state))
        password = secrets.token_urlsafe(32)
        passwords = {**roster.passwords, mosquitto.PROBE_USER: password}
        relay.ensure_nodes(dataclasses.replace(roster, passwords=passwords))
        try:
            result = smoke.run(
                self._listener(state.config, self._tls(state)), password, relay.status, event.params["timeout"]
            )
        finally:
            relay.ensure_nodes(roster)
        event.set_results({"result": "passed", "node": result.node, "milliseconds": round(result.seconds * 1000)})

    @relay_action
    def _on_show_relay_status(self, event: ops.ActionEvent) -> None:
        seen = relay.status()
        telemetry = seen["outbox"]["telemetry"]
        dropped = sum(telemetry["dropped_total"].values())
        event.set_results(
            {
                "received": seen["received"],
                "readings": seen["readings"],
                "confirmed": seen["confirmed"],
                "malformed": seen["malformed"],
                "dead-letters": seen["dead_letters_total"],
                "behind-seconds": seen["behind_seconds"],
                "summary": seen["summary"],
                "outbox": {"readings": telemetry["entries"], "bytes": telemetry["bytes"], "dropped": dropped},
                "connected": {
                    "mqtt": seen["listeners"]["mqtt"]["connected"],
                    "amqp": seen["uplink"]["connected"],
                },
                "all": json.dumps(seen),
            }
        )

    @relay_action
    def _on_plan_buffer(self, event: ops.ActionEvent) -> None:
        plan = relay.plan_buffer()
        results = {name.replace("_", "-"): value for name, value in plan.items() if value is not None}
        event.set_results({**results, "assumptions": "; ".join(plan["assumptions"])})


def _roster(state: State, identities: Mapping[str, Identity]) -> relay.Roster:
    passwords = {name: identity.password for name, identity in identities.items()}
    return relay.Roster(passwords, state.added, state.suspended)


if __name__ == "__main__":
    ops.main(GatewayCharm)
