#!/usr/bin/env python3
"""The charm of the broker between gateways and the analytics chain."""

import json
import logging
import secrets
import socket
from collections.abc import Iterator, Mapping

import ops
from typing_extensions import override

import rabbitmq
import report
import smoke
import topology
from iot_charm.base import ReconcilingCharm, failing_with
from iot_charm.interfaces.databag import bind_address, own_address
from iot_charm.interfaces.rabbitmq import PASSWORD, RabbitmqAnswer
from iot_charm.tls import CertificateRequestError, UnitCertificate, Wanted, names
from management import Management, ManagementError
from node_users import ensure_node_users
from state import (
    AMQP,
    CERTIFICATES,
    Clients,
    QueueFilter,
    RabbitmqConfig,
    Requests,
    State,
    User,
    is_of_a_node,
    user_secret,
)

logger = logging.getLogger(__name__)

ADMIN_SECRET = "admin"

action = failing_with(ManagementError, rabbitmq.RabbitmqError, smoke.SmokeTestError, ops.SecretNotFoundError)


class RabbitmqCharm(ReconcilingCharm[State]):
    """Installs RabbitMQ and keeps its users and topology in step with what related applications ask for."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self._certificate = UnitCertificate(self, CERTIFICATES, self._wanted_certificate)
        self.follow(self.on.leader_elected, self.on.secret_changed)
        self.follow_relations(AMQP, CERTIFICATES)
        framework.observe(self.on.stop, self._stop)
        framework.observe(self.on.smoke_test_action, self._smoke_test)
        framework.observe(self.on.get_admin_credentials_action, self._get_admin_credentials)
        framework.observe(self.on.check_queues_action, self._check_queues)
        framework.observe(self.on.list_unconsumed_queues_action, self._list_unconsumed_queues)
        framework.observe(self.on.cluster_status_action, self._cluster_status)
        framework.observe(self.on.rotate_service_user_password_action, self._rotate_service_user_password)

    # What the machine should be

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        if self._is_surplus():
            return
        rabbitmq.install()
        self._reconcile_certificate()
        settings = self._settings(state.config)
        rabbitmq.configure(settings)
        rabbitmq.start(restart=restart)
        password = self._ensure_password(ADMIN_SECRET, "Password of RabbitMQ's administrator")
        rabbitmq.ensure_admin(settings, password)
        management = rabbitmq.connect(settings, password)
        management.ensure_permissions("/", rabbitmq.ADMIN, topology.FULL)
        if not settings.tls:
            rabbitmq.remove_certificate()
        self.unit.set_ports(
            rabbitmq.AMQP_PORT, rabbitmq.MANAGEMENT_PORT, *((rabbitmq.AMQPS_PORT,) if settings.tls else ())
        )
        self.unit.set_workload_version(management.version())
        self._serve(management, state.clients, state.config)

    def _reconcile_certificate(self) -> None:
        """Ask for a certificate, and have the broker show the one that is given."""
        try:
            self._certificate.ask()
            found = self._certificate.find()
        except CertificateRequestError as error:
            logger.error("%s", error)
            return
        if found is not None:
            rabbitmq.ensure_certificate(found.certificate, found.key, found.ca)

    def _wanted_certificate(self) -> Wanted:
        reached = [own_address(self, relation) for relation in self.active_relations(AMQP)]
        # A gateway routes its nodes' connections to here.
        routed = [name for asked in Requests.from_charm(self).met for name in asked.request.reached]
        own = [bind_address(self, AMQP), socket.getfqdn()]
        return Wanted(self.unit.name.replace("/", "-"), names(reached, own, routed))

    def _ca(self) -> str:
        """Return the authority of the broker's certificate; empty where there is no TLS, or not yet."""
        return rabbitmq.kept_ca() if self._certificate.is_related else ""

    def _serve(self, management: Management, clients: Clients, config: RabbitmqConfig) -> None:
        """Give every related application its virtual host, its topology and its user."""
        for vhost in clients.vhosts:
            if management.ensure_vhost(vhost, config.limits):
                logger.info("declared the topology in virtual host %s", vhost)
        for user in clients.users:
            self._ensure_user(management, user, config)
        changes = ensure_node_users(management, [asked.nodes for asked in clients.nodes], clients.kept)
        if changes.made or changes.removed:
            logger.info("nodes: made %d users, removed %d", changes.made, changes.removed)
        for problem in clients.problems:
            logger.warning("%s", problem)
        for user in clients.users:
            self._answer(user, clients, config)
        for name in management.ensure_only_users({user.name for user in clients.users} | clients.kept):
            logger.info("removed user %s: no relation asks for it any more", name)
            secret = self._find_secret(user_secret(name))
            if secret is not None:
                secret.remove_all_revisions()

    def _ensure_user(self, management: Management, user: User, config: RabbitmqConfig) -> None:
        password = self._ensure_password(user_secret(user.name), f"Password of user {user.name}")
        changed = management.ensure_user(user.name, password)
        for vhost, access in user.access.items():
            keys = user.commands.get(vhost, frozenset())
            if keys:
                changed |= management.ensure_commands(vhost, sorted(keys), config.limits)
            nodes = user.nodes.get(vhost, frozenset())
            if nodes:
                changed |= management.ensure_nodes(vhost, sorted(nodes), config.limits)
            changed |= management.ensure_permissions(vhost, user.name, topology.permissions(access, keys, nodes))
            changed |= management.ensure_topic_permissions(vhost, user.name, topology.topic_permissions(access, nodes))
        changed |= management.ensure_only_vhosts(user.name, set(user.access))
        if changed:
            logger.info("set up user %s for virtual hosts: %s", user.name, ", ".join(user.access))

    def _answer(self, user: User, clients: Clients, config: RabbitmqConfig) -> None:
        """Tell the applications that ask for a user what they need to use it."""
        secret = self.model.get_secret(label=user_secret(user.name))
        ca = self._ca()
        for relation in self.model.relations[AMQP]:
            if relation.id not in user.relations:
                continue
            secret.grant(relation)
            answer = RabbitmqAnswer(
                hostname=own_address(self, relation),
                port=rabbitmq.AMQP_PORT,
                ssl_port=rabbitmq.AMQPS_PORT if ca else 0,
                ssl_ca=RabbitmqAnswer.encoded(ca) if ca else "",
                # Not `secret.id`: a secret that was just added knows itself in another notation than one found again.
                password_secret=secret.get_info().id,
                exchange=topology.EXCHANGE,
                queue=topology.QUEUE,
                stream=topology.STREAM,
                dead_letter_exchange=topology.DEAD_LETTER_EXCHANGE,
                dead_letter_queue=topology.DEAD_LETTER_QUEUE,
                commands_exchange=topology.COMMANDS_EXCHANGE,
                commands_queues=_queues(topology.COMMANDS, user.commands),
                nodes_exchange=topology.NODES_EXCHANGE,
                nodes_queues=_queues(topology.NODES, user.nodes),
                nodes_served=",".join(
                    asked.served for asked in clients.nodes if asked.relation == relation.id and asked.served
                ),
                node_commands_exchange=topology.NODE_COMMANDS_EXCHANGE,
                batch_encoding=config.batch_encoding,
            )
            answer.publish(relation, self.unit)

    def _stop(self, _: ops.StopEvent) -> None:
        rabbitmq.stop()

    # What is

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if self._is_surplus():
            yield ops.BlockedStatus("One unit only, there is no clustering yet: remove this unit")
            return
        for problem in state.clients.problems:
            yield ops.BlockedStatus(problem)
        try:
            if self._certificate.is_related and self._certificate.find() is None:
                yield ops.WaitingStatus("Waiting for a certificate (certificates)")
        except CertificateRequestError as error:
            yield ops.BlockedStatus(str(error))
        if not rabbitmq.running():
            yield ops.BlockedStatus(f"RabbitMQ is not running: see {rabbitmq.LOG_DIRECTORY}")
            return
        try:
            management = self._connect(state.config)
            for resource in management.alarms():
                yield ops.BlockedStatus(f"Publishers are blocked: the broker runs short of {resource}")
            queues = management.queues(report.SUMMED_UP)
            yield ops.ActiveStatus(report.summary(management.version(), queues))
        except (ManagementError, ops.SecretNotFoundError) as error:
            yield ops.BlockedStatus(f"RabbitMQ does not answer: {error}")

    def _is_surplus(self) -> bool:
        """Tell whether this is a further unit: it would be a broker apart, whose queues nobody drains."""
        return self.app.planned_units() > 1 and not self.unit.is_leader()

    # Actions

    @action
    def _smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        password = self._admin_password()
        target = smoke.Target(self._settings(state.config).address, rabbitmq.AMQP_PORT, rabbitmq.ADMIN, password)
        seconds = smoke.smoke_test(target, state.clients.vhosts)
        version = self._connect(state.config).version()
        vhosts = ", ".join(state.clients.vhosts) or "none"
        event.set_results(
            {"result": "passed", "version": version, "round-trip-ms": round(seconds * 1000, 1), "vhosts": vhosts}
        )

    @action
    def _get_admin_credentials(self, event: ops.ActionEvent) -> None:
        url = self._settings(self.load_state().config).management_url
        password = self._admin_password()
        event.set_results({"url": url, "username": rabbitmq.ADMIN, "password": password})

    @action
    def _check_queues(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(QueueFilter)
        queues = self._connect(self.load_state().config).queues()
        found = [queue for queue in queues if wanted.matches(queue)]
        if not found:
            event.fail("no such queue")
            return
        event.set_results(report.results(found))

    @action
    def _list_unconsumed_queues(self, event: ops.ActionEvent) -> None:
        queues = self._connect(self.load_state().config).queues()
        event.set_results(
            report.results([queue for queue in queues if queue.consumers == 0 and not is_of_a_node(queue)])
        )

    @action
    def _cluster_status(self, event: ops.ActionEvent) -> None:
        status = rabbitmq.cluster_status()
        event.set_results(
            {
                "cluster-name": status["cluster_name"],
                "running-nodes": ", ".join(status["running_nodes"]),
                "alarms": json.dumps(status["alarms"]),
                "partitions": json.dumps(status["partitions"]),
                "listeners": report.listeners(status["listeners"]),
            }
        )

    @action
    def _rotate_service_user_password(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        name: str = event.params["user"]
        names = [user.name for user in state.clients.users]
        if name not in names:
            event.fail(f"no related application has a user {name}; there are: {', '.join(names) or 'none'}")
            return
        password = secrets.token_urlsafe(32)
        secret = self.model.get_secret(label=user_secret(name))
        self._connect(state.config).ensure_user(name, password)
        secret.set_content({PASSWORD: password})
        logger.info("gave user %s a new password", name)
        event.set_results({"user": name, "result": "the password is changed; the application follows by itself"})

    # Helpers

    def _settings(self, config: RabbitmqConfig) -> rabbitmq.Settings:
        return rabbitmq.Settings(
            bind_address(self, AMQP),
            self.app.name,
            int(config.memory_watermark),
            int(config.disk_free_limit),
            tls=bool(self._ca()),
        )

    def _connect(self, config: RabbitmqConfig) -> Management:
        return rabbitmq.connect(self._settings(config), self._admin_password())

    def _admin_password(self) -> str:
        return self.model.get_secret(label=ADMIN_SECRET).peek_content()[PASSWORD]

    def _ensure_password(self, label: str, description: str) -> str:
        """Return the password in this unit's secret with that label; make both where there is none."""
        secret = self._find_secret(label)
        if secret is not None:
            return secret.peek_content()[PASSWORD]
        password = secrets.token_urlsafe(32)
        self.unit.add_secret({PASSWORD: password}, label=label, description=description)
        return password

    def _find_secret(self, label: str) -> ops.Secret | None:
        try:
            return self.model.get_secret(label=label)
        except ops.SecretNotFoundError:
            return None


def _queues(queues: topology.GatewayQueues, keys: Mapping[str, frozenset[str]]) -> str:
    return ",".join(sorted(queues.queue(key) for of_vhost in keys.values() for key in of_vhost))


if __name__ == "__main__":
    ops.main(RabbitmqCharm)
