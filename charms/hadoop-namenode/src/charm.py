#!/usr/bin/env python3
"""The NameNode of HDFS."""

from collections.abc import Iterator
from pathlib import Path

import ops
from typing_extensions import override

import namenode
from iot_charm import hadoop_node, resources
from iot_charm.base import ReconcilingCharm, action
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.dfs_slave import NameNodeForWorkers
from state import CLIENTS, WORKERS, State

START_TIMEOUT_S = 180
SETTLE_TIMEOUT_S = 60
"""For safe mode to end once the first DataNode is there."""


class NameNodeCharm(ReconcilingCharm[State]):
    """Runs the NameNode, tells workers and clients where it is, and makes the clients' home directories."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow_relations(CLIENTS, WORKERS)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.start_hdfs_action, self._on_start_hdfs)
        framework.observe(self.on.stop_hdfs_action, self._on_stop_hdfs)
        framework.observe(self.on.restart_hdfs_action, self._on_restart_hdfs)
        framework.observe(self.on.backup_hdfs_action, self._on_backup_hdfs)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        if _is_spare(state):
            return
        namenode.install(resources.fetch(self, "hadoop"))
        started = namenode.ensure_running(_settings(state), restart=restart)
        self.unit.set_ports(namenode.PORT, namenode.WEB_PORT)
        self.unit.set_workload_version(hadoop_node.version())
        if namenode.is_stopped():
            return
        report = namenode.wait_for_report(
            state.address, datanodes=state.workers, timeout_s=START_TIMEOUT_S if started else SETTLE_TIMEOUT_S
        )
        if report is not None:
            self._publish(state, report)

    def _publish(self, state: State, report: namenode.Report) -> None:
        for relation in self.model.relations[WORKERS]:
            NameNodeForWorkers(
                host=own_address(self, relation),
                port=namenode.PORT,
                replication=state.replication,
                block_size=state.config.dfs_blocksize,
                cluster_id=report.cluster_id,
            ).publish(relation, self.unit)
        relations = self.model.relations[CLIENTS]
        if report.safe_mode or (report.datanodes == 0 and not any(self._published(each) for each in relations)):
            return
        users = namenode.ensure_homes(state.address, state.users)
        for relation in relations:
            NameNode(
                host=own_address(self, relation),
                port=namenode.PORT,
                web_port=namenode.WEB_PORT,
                datanodes=report.datanodes,
                replication=state.replication,
                block_size=state.config.dfs_blocksize,
                users=users,
            ).publish(relation, self.unit)

    def _published(self, relation: ops.Relation) -> bool:
        return NameNode.read(relation, self.unit) is not None

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        namenode.uninstall()

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if _is_spare(state):
            yield ops.BlockedStatus(f"HDFS has one NameNode; scale {self.app.name} to 1 unit")
            return
        if namenode.is_stopped():
            yield ops.BlockedStatus("HDFS is stopped; action start-hdfs starts it")
            return
        if state.wants_workers:
            yield ops.BlockedStatus("Missing required datanode relation")
        report = namenode.report(state.address)
        if report is None:
            yield ops.WaitingStatus("Waiting for the NameNode to answer")
        elif report.datanodes == 0:
            yield ops.WaitingStatus("Waiting for DataNodes")
        elif report.safe_mode:
            yield ops.WaitingStatus("Waiting for HDFS to leave safe mode")
        else:
            plural = "" if report.datanodes == 1 else "s"
            yield ops.ActiveStatus(f"Ready ({report.datanodes} datanode{plural})")

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        seconds = namenode.smoke_test(state.address, replication=state.replication)
        event.set_results({"outcome": "wrote, read back and deleted 1 MiB", "seconds": f"{seconds:.2f}"})

    @action
    def _on_start_hdfs(self, event: ops.ActionEvent) -> None:
        self._start(event, restart=False)

    @action
    def _on_restart_hdfs(self, event: ops.ActionEvent) -> None:
        self._start(event, restart=True)

    def _start(self, event: ops.ActionEvent, *, restart: bool) -> None:
        namenode.allow_start()
        self.reconcile(restart=restart)
        report = namenode.report(self.load_state().address)
        if report is None:
            event.fail(self.problem or "the NameNode does not answer; see: journalctl -u hadoop-namenode")
            return
        event.set_results({"datanodes": report.datanodes, "safe-mode": "on" if report.safe_mode else "off"})

    def _on_stop_hdfs(self, event: ops.ActionEvent) -> None:
        namenode.stop()
        event.set_results({"outcome": "stopped until start-hdfs"})

    @action
    def _on_backup_hdfs(self, event: ops.ActionEvent) -> None:
        path = Path(event.params["path"])
        if not path.is_absolute():
            event.fail(f"path={str(path)!r}: must be an absolute path")
            return
        saved = namenode.backup(self.load_state().address, path)
        event.set_results({"path": str(saved), "bytes": sum(file.stat().st_size for file in saved.iterdir())})


def _settings(state: State) -> namenode.Settings:
    return namenode.Settings(
        address=state.address,
        # Not the effective number: it comes and goes with the workers, and the NameNode need not restart for it.
        replication=state.config.dfs_replication,
        block_size=state.config.dfs_blocksize,
        heap_mb=state.config.namenode_heap,
    )


def _is_spare(state: State) -> bool:
    """Tell whether this unit is one too many: there are several, and it is not the one that was there first."""
    return state.planned_units > 1 and not namenode.has_file_system()


if __name__ == "__main__":  # pragma: nocover
    ops.main(NameNodeCharm)
