#!/usr/bin/env python3
"""A Flume agent that writes into HDFS what other agents send."""

import logging

import ops

import flume_hdfs
import ingestion
from iot_charm import resources
from iot_charm.errors import DistributionError, InvalidConfigError, IotCharmError
from iot_charm.flume import service
from iot_charm.flume.agent import USER, Agent
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs import DfsClient
from iot_charm.interfaces.flume_agent import FlumeSource
from state import NAMENODE, SOURCE, State, VerifyIngestion

logger = logging.getLogger(__name__)


class FlumeHdfsCharm(ops.CharmBase):
    """Runs the agent while a NameNode is related, and tells senders where it listens."""

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
            self.on[NAMENODE].relation_created,
            self.on[NAMENODE].relation_changed,
            self.on[NAMENODE].relation_broken,
            self.on[SOURCE].relation_created,
            self.on[SOURCE].relation_changed,
            self.on[SOURCE].relation_departed,
            self.on[SOURCE].relation_broken,
        ):
            framework.observe(event, self._on_change)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.collect_unit_status, self._on_collect_status)
        framework.observe(self.on.verify_ingestion_action, self._on_verify_ingestion)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.start_flume_action, self._on_start_flume)
        framework.observe(self.on.stop_flume_action, self._on_stop_flume)
        framework.observe(self.on.restart_flume_action, self._on_restart_flume)

    def _on_change(self, _: ops.EventBase) -> None:
        """Make the machine match the state; a mistake of an operator leaves everything as it runs."""
        try:
            # What is asked of HDFS depends on no option.
            for relation in self.model.relations[NAMENODE]:
                if relation.active:
                    DfsClient(user=USER).publish(relation, self.unit)
            self.unit.status = ops.MaintenanceStatus("Installing Flume")
            self.unit.set_workload_version(flume_hdfs.install(self._agent, resources.fetch(self, "flume")))
            self._run_agent(State.from_charm(self))
        except DistributionError as error:
            self._problem = str(error)
        except InvalidConfigError as error:
            logger.error("keeping the last good configuration: %s", error)
        except IotCharmError as error:
            logger.error("nothing is changed: %s", error)
            self._problem = str(error)

    def _run_agent(self, state: State) -> None:
        if state.wants_hdfs:
            flume_hdfs.disable(self._agent)
            self.unit.set_ports()
            return
        if state.namenode is None:
            return
        if state.conflict:
            logger.error("keeping the last good configuration: %s", state.conflict)
            return
        self.unit.status = ops.MaintenanceStatus("Configuring the agent")
        port = state.config.source_port
        if flume_hdfs.configure(
            self._agent,
            state.namenode,
            state.agent(state.namenode),
            replication=state.replication,
            open_for_s=state.config.open_for_s,
            heap_mb=state.config.heap,
            charm_dir=self.charm_dir,
        ):
            logger.info("started the agent: port %d to %s", port, state.namenode.uri)
        self.unit.set_ports(port)
        if not service.is_held(self._agent) and flume_hdfs.is_listening(port):
            for relation in self.model.relations[SOURCE]:
                if relation.active:
                    FlumeSource(host=own_address(self, relation), port=port).publish(relation, self.unit)

    def _on_stop(self, _: ops.StopEvent) -> None:
        flume_hdfs.disable(self._agent)

    def _on_collect_status(self, event: ops.CollectStatusEvent) -> None:
        if self._problem:
            event.add_status(ops.BlockedStatus(self._problem))
        try:
            state = State.from_charm(self)
        except IotCharmError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        if state.wants_hdfs:
            event.add_status(ops.BlockedStatus("Missing required namenode relation"))
        elif state.conflict:
            event.add_status(ops.BlockedStatus(state.conflict))
        elif state.namenode is None:
            event.add_status(ops.WaitingStatus("Waiting for HDFS"))
        elif service.is_held(self._agent):
            event.add_status(ops.BlockedStatus("Stopped by an action; run start-flume to go on"))
        elif not flume_hdfs.is_listening(state.config.source_port, timeout_s=5):
            event.add_status(ops.BlockedStatus(f"Flume does not listen: see journalctl -u {self._agent.service}"))
        else:
            event.add_status(ops.ActiveStatus(_ready(state)))

    # Actions

    def _on_verify_ingestion(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(VerifyIngestion)
        try:
            state = State.from_charm(self)
            if state.namenode is None:
                event.fail("HDFS is not there yet: see the unit's status")
                return
            found = ingestion.Ingestion(flume_hdfs.store(state.namenode), state.event_dirs, wanted.node)
            ingestion.wait_for(found, wanted.sent, timeout_s=wanted.timeout, progress=event.log)
            listing = found.listing()
        except IotCharmError as error:
            event.fail(str(error))
            return
        in_hdfs = found.distinct
        sent = wanted.sent if wanted.sent >= 0 else in_hdfs + found.gaps
        lost = max(0, sent - in_hdfs)
        results = {"listing": listing, "sent": sent, "in-hdfs": in_hdfs, "lost": lost, "duplicated": found.duplicated}
        if found.malformed:
            results["malformed"] = found.malformed
        event.set_results(results)
        if lost:
            event.fail(f"{lost} of {sent} readings are not in HDFS{_hint(found.open_files, state)}")

    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        try:
            state = State.from_charm(self)
            if state.namenode is None:
                event.fail("HDFS is not there yet: see the unit's status")
                return
            seconds = flume_hdfs.smoke_test(self._agent, flume_hdfs.store(state.namenode), state.config.source_port)
        except IotCharmError as error:
            event.fail(str(error))
            return
        event.set_results({"outcome": "an event went through the agent into HDFS", "seconds": round(seconds, 1)})

    def _on_start_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.start(self._agent)
            self._report_listening(event, "started")

    def _on_stop_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.stop(self._agent)
            event.set_results({"outcome": f"{self._agent.service} is stopped, until start-flume"})

    def _on_restart_flume(self, event: ops.ActionEvent) -> None:
        if self._is_configured(event):
            service.restart(self._agent)
            self._report_listening(event, "restarted")

    def _report_listening(self, event: ops.ActionEvent, done: str) -> None:
        try:
            port = State.from_charm(self).config.source_port
        except IotCharmError as error:
            event.fail(str(error))
            return
        if flume_hdfs.is_listening(port):
            event.set_results({"outcome": f"{self._agent.service} is {done} and listens on port {port}"})
        else:
            event.fail(
                f"{self._agent.service} does not listen on port {port}; see: journalctl -u {self._agent.service}"
            )

    def _is_configured(self, event: ops.ActionEvent) -> bool:
        if service.is_configured(self._agent):
            return True
        event.fail("the agent is not configured yet: see the unit's status")
        return False


def _ready(state: State) -> str:
    senders = ", ".join(sender.unit for sender in state.senders) or "no sender yet"
    return f"Ready ({senders})"


def _hint(open_files: int, state: State) -> str:
    """Say when what is missing may show."""
    if not open_files:
        return ""
    count = "a file is" if open_files == 1 else f"{open_files} files are"
    interval = state.config.roll_interval
    when = f"after at most {interval} s (option roll_interval)" if interval else "when it is full"
    return f"; {count} still open, and a file appears {when}"


if __name__ == "__main__":  # pragma: nocover
    ops.main(FlumeHdfsCharm)
