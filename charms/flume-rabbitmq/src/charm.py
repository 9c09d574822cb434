#!/usr/bin/env python3
"""A Flume agent that drains a queue of RabbitMQ into other agents."""

import logging
from collections.abc import Iterator

import ops
from typing_extensions import override

import flume_rabbitmq
from iot_charm import resources
from iot_charm.base import action
from iot_charm.flume import service
from iot_charm.flume.charm import FlumeCharm
from iot_charm.interfaces.flume_agent import FlumeSink
from iot_charm.interfaces.rabbitmq import RabbitmqRequest
from state import AMQP, SINK, VHOST, State

logger = logging.getLogger(__name__)


class FlumeRabbitmqCharm(FlumeCharm[State]):
    """Runs the agent while both a broker and an agent to send to are related."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow(self.on.secret_changed)
        self.follow_relations(AMQP, SINK)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def ask(self) -> None:
        self.publish(AMQP, RabbitmqRequest(username=self.app.name, vhost=VHOST, access="consume"))

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        self.unit.set_workload_version(flume_rabbitmq.install(self.agent, resources.fetch(self, "flume")))
        if state.batch_encoding is not None:
            self.publish(SINK, FlumeSink(event_dir=state.config.event_dir, batch_encoding=state.batch_encoding))
        if state.wants_amqp or state.wants_sink:
            self.disable()
            return
        broker = state.usable_broker
        if broker is None or not state.targets:
            return
        if not broker.ca and flume_rabbitmq.uses_tls(self.agent):
            logger.warning("RabbitMQ offers TLS no more: nothing is encrypted from now on")
        if flume_rabbitmq.configure(
            self.agent, broker, state.agent, heap_mb=state.config.heap, charm_dir=self.charm_dir
        ):
            logger.info("started the agent: queue %s to %s", broker.queue, _names(state))

    @override
    def disable(self) -> None:
        flume_rabbitmq.disable(self.agent)

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if state.wants_amqp:
            yield ops.BlockedStatus("Missing required amqp relation")
        if state.wants_sink:
            yield ops.BlockedStatus("Waiting for relation to Flume Sink")
        if state.wants_amqp or state.wants_sink:
            return
        if state.broker is None:
            yield ops.WaitingStatus("Waiting for RabbitMQ")
        elif state.usable_broker is None:
            yield ops.WaitingStatus("Waiting for RabbitMQ (amqp) to offer TLS, as broker_tls=required wants it")
        elif not state.targets:
            yield ops.WaitingStatus("Waiting for Flume Sink to listen")
        elif service.is_held(self.agent):
            yield ops.BlockedStatus("Stopped by an action; run start-flume to go on")
        elif not service.is_running(self.agent):
            yield ops.BlockedStatus(f"Flume does not run: see journalctl -u {self.agent.service}")
        else:
            secured = " over TLS" if state.broker.ca else ""
            yield ops.ActiveStatus(f"Ready ({state.broker.queue}{secured} to {_names(state)})")

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        if state.usable_broker is None or not state.targets:
            event.fail("the agent does not run yet: the broker or the Flume sink has not answered over its relation")
            return
        depth = flume_rabbitmq.smoke_test(self.agent, state.usable_broker, state.config.sources, state.targets)
        event.set_results(
            {
                "outcome": f"{state.config.sources} sources drain {state.usable_broker.queue} to {_names(state)}",
                "queued-before": depth.before,
                "queued-after": depth.after,
            }
        )


def _names(state: State) -> str:
    return ", ".join(target.name for target in state.targets)


if __name__ == "__main__":  # pragma: nocover
    ops.main(FlumeRabbitmqCharm)
