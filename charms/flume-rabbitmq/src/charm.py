#!/usr/bin/env python3
"""A Flume agent that drains a queue of RabbitMQ into other agents."""

import logging

import ops

import flume_rabbitmq
from iot_charm import resources
from iot_charm.errors import DistributionError, InvalidConfigError, IotCharmError
from iot_charm.flume import service
from iot_charm.flume.agent import Agent
from iot_charm.interfaces.flume_agent import FlumeSink
from iot_charm.interfaces.rabbitmq import RabbitmqRequest
from state import AMQP, SINK, VHOST, State

logger = logging.getLogger(__name__)


class FlumeRabbitmqCharm(ops.CharmBase):
    """Runs the agent while both a broker and an agent to send to are related."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self._agent = Agent(self.unit.name)
        self._problem = ""
        """What an operator must mend, found while reconciling."""
        for event in (
            self.on.install,
            self.on.start,
            self.on.config_changed,
            self.on.upgrade_charm,
            self.on.update_status,
            self.on.secret_changed,
            self.on[AMQP].relation_created,
            self.on[AMQP].relation_changed,
            self.on[AMQP].relation_departed,
            self.on[AMQP].relation_broken,
            self.on[SINK].relation_created,
            self.on[SINK].relation_changed,
            self.on[SINK].relation_departed,
            self.on[SINK].relation_broken,
        ):
            framework.observe(event, self._on_change)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.collect_unit_status, self._on_collect_status)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.start_flume_action, self._on_start_flume)
        framework.observe(self.on.stop_flume_action, self._on_stop_flume)
        framework.observe(self.on.restart_flume_action, self._on_restart_flume)

    def _on_change(self, _: ops.EventBase) -> None:
        """Make the machine match the state; a mistake of an operator leaves everything as it runs."""
        try:
            # What is asked of the broker depends on no option.
            self._ask_for_user()
            self._install()
            state = State.from_charm(self)
            self._tell_sinks(state)
            self._run_agent(state)
        except DistributionError as error:
            self._problem = str(error)
        except InvalidConfigError as error:
            logger.error("keeping the last good configuration: %s", error)
        except IotCharmError as error:
            logger.error("nothing is changed: %s", error)
            self._problem = str(error)

    def _ask_for_user(self) -> None:
        request = RabbitmqRequest(username=self.app.name, vhost=VHOST, access="consume")
        for relation in self.model.relations[AMQP]:
            if relation.active:
                request.publish(relation, self.unit)

    def _install(self) -> None:
        self.unit.status = ops.MaintenanceStatus("Installing Flume")
        self.unit.set_workload_version(flume_rabbitmq.install(self._agent, resources.fetch(self, "flume")))

    def _tell_sinks(self, state: State) -> None:
        if state.batch_encoding is None:
            return
        sink = FlumeSink(event_dir=state.config.event_dir, batch_encoding=state.batch_encoding)
        for relation in self.model.relations[SINK]:
            if relation.active:
                sink.publish(relation, self.unit)

    def _run_agent(self, state: State) -> None:
        if state.wants_amqp or state.wants_sink:
            flume_rabbitmq.disable(self._agent)
            return
        if state.broker is None or not state.targets:
            return
        self.unit.status = ops.MaintenanceStatus("Configuring the agent")
        if flume_rabbitmq.configure(
            self._agent, state.broker, state.agent, heap_mb=state.config.heap, charm_dir=self.charm_dir
        ):
            logger.info("started the agent: queue %s to %s", state.broker.queue, _names(state))

    def _on_stop(self, _: ops.StopEvent) -> None:
        flume_rabbitmq.disable(self._agent)

    def _on_collect_status(self, event: ops.CollectStatusEvent) -> None:
        if self._problem:
            event.add_status(ops.BlockedStatus(self._problem))
        try:
            state = State.from_charm(self)
        except IotCharmError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        if state.wants_amqp:
            event.add_status(ops.BlockedStatus("Missing required amqp relation"))
        if state.wants_sink:
            event.add_status(ops.BlockedStatus("Waiting for relation to Flume Sink"))
        if state.wants_amqp or state.wants_sink:
            return
        if state.broker is None:
            event.add_status(ops.WaitingStatus("Waiting for RabbitMQ"))
        elif not state.targets:
            event.add_status(ops.WaitingStatus("Waiting for Flume Sink to listen"))
        elif service.is_held(self._agent):
            event.add_status(ops.BlockedStatus("Stopped by an action; run start-flume to go on"))
        elif not service.is_running(self._agent):
            event.add_status(ops.BlockedStatus(f"Flume does not run: see journalctl -u {self._agent.service}"))
        else:
            event.add_status(ops.ActiveStatus(f"Ready ({state.broker.queue} to {_names(state)})"))

    # Actions

    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        try:
            state = State.from_charm(self)
            if state.broker is None or not state.targets:
                event.fail(
                    "the agent does not run yet: the broker or the Flume sink has not answered over its relation"
                )
                return
            depth = flume_rabbitmq.smoke_test(self._agent, state.broker, state.config.sources, state.targets)
        except IotCharmError as error:
            event.fail(str(error))
            return
        event.set_results(
            {
                "outcome": f"{state.config.sources} sources drain {state.broker.queue} to {_names(state)}",
                "queued-before": depth.before,
                "queued-after": depth.after,
            }
        )

    def _on_start_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.start(self._agent)
            event.set_results({"outcome": f"{self._agent.service} is started"})

    def _on_stop_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.stop(self._agent)
            event.set_results({"outcome": f"{self._agent.service} is stopped, until start-flume"})

    def _on_restart_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.restart(self._agent)
            event.set_results({"outcome": f"{self._agent.service} is restarted"})

    def _is_configured(self, event: ops.ActionEvent) -> bool:
        if service.is_configured(self._agent):
            return True
        event.fail("the agent is not configured yet: see the unit's status")
        return False


def _names(state: State) -> str:
    return ", ".join(target.name for target in state.targets)


if __name__ == "__main__":  # pragma: nocover
    ops.main(FlumeRabbitmqCharm)
