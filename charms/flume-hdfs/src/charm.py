#!/usr/bin/env python3
"""A Flume agent that writes into HDFS what other agents send."""

import logging
from collections.abc import Iterator

import ops
from typing_extensions import override

import flume_hdfs
import ingestion
from iot_charm import resources
from iot_charm.base import action
from iot_charm.flume import service
from iot_charm.flume.agent import USER
from iot_charm.flume.charm import FlumeCharm
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs import DfsClient
from iot_charm.interfaces.flume_agent import FlumeSource
from state import NAMENODE, SOURCE, State, VerifyIngestion

logger = logging.getLogger(__name__)


class FlumeHdfsCharm(FlumeCharm[State]):
    """Runs the agent while a NameNode is related, and tells senders where it listens."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow_relations(NAMENODE, SOURCE)
        framework.observe(self.on.verify_ingestion_action, self._on_verify_ingestion)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def ask(self) -> None:
        self.publish(NAMENODE, DfsClient(user=USER))

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        self.unit.set_workload_version(flume_hdfs.install(self.agent, resources.fetch(self, "flume")))
        if state.wants_hdfs:
            self.disable()
            self.unit.set_ports()
            return
        if state.namenode is None:
            return
        if state.conflict:
            logger.error("keeping the last good configuration: %s", state.conflict)
            return
        port = state.config.source_port
        if flume_hdfs.configure(
            self.agent,
            state.namenode,
            state.agent(state.namenode),
            replication=state.replication,
            open_for_s=state.config.open_for_s,
            heap_mb=state.config.heap,
            charm_dir=self.charm_dir,
        ):
            logger.info("started the agent: port %d to %s", port, state.namenode.uri)
        self.unit.set_ports(port)
        if not service.is_held(self.agent) and flume_hdfs.is_listening(port):
            for relation in self.active_relations(SOURCE):
                FlumeSource(host=own_address(self, relation), port=port).publish(relation, self.unit)

    @override
    def disable(self) -> None:
        flume_hdfs.disable(self.agent)

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if state.wants_hdfs:
            yield ops.BlockedStatus("Missing required namenode relation")
        elif state.conflict:
            yield ops.BlockedStatus(state.conflict)
        elif state.namenode is None:
            yield ops.WaitingStatus("Waiting for HDFS")
        elif service.is_held(self.agent):
            yield ops.BlockedStatus("Stopped by an action; run start-flume to go on")
        elif not flume_hdfs.is_listening(state.config.source_port, timeout_s=5):
            yield ops.BlockedStatus(f"Flume does not listen: see journalctl -u {self.agent.service}")
        else:
            yield ops.ActiveStatus(_ready(state))

    # Actions

    @action
    def _on_verify_ingestion(self, event: ops.ActionEvent) -> None:
        wanted = event.load_params(VerifyIngestion)
        state = self.load_state()
        if state.namenode is None:
            event.fail("HDFS is not there yet: see the unit's status")
            return
        found = ingestion.Ingestion(flume_hdfs.store(state.namenode), state.event_dirs, wanted.node)
        ingestion.wait_for(found, wanted.sent, timeout_s=wanted.timeout, progress=event.log)
        listing = found.listing()
        in_hdfs = found.distinct
        sent = wanted.sent if wanted.sent >= 0 else in_hdfs + found.gaps
        lost = max(0, sent - in_hdfs)
        results = {"listing": listing, "sent": sent, "in-hdfs": in_hdfs, "lost": lost, "duplicated": found.duplicated}
        if found.malformed:
            results["malformed"] = found.malformed
        event.set_results(results)
        if lost:
            event.fail(f"{lost} of {sent} readings are not in HDFS{_hint(found.open_files, state)}")

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        if state.namenode is None:
            event.fail("HDFS is not there yet: see the unit's status")
            return
        seconds = flume_hdfs.smoke_test(self.agent, flume_hdfs.store(state.namenode), state.config.source_port)
        event.set_results({"outcome": "an event went through the agent into HDFS", "seconds": round(seconds, 1)})

    @override
    def report(self, event: ops.ActionEvent, done: str) -> None:
        port = self.load_state().config.source_port
        service_name = self.agent.service
        if flume_hdfs.is_listening(port):
            event.set_results({"outcome": f"{service_name} is {done} and listens on port {port}"})
        else:
            event.fail(f"{service_name} does not listen on port {port}; see: journalctl -u {service_name}")


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
