#!/usr/bin/env python3
"""The NameNode of HDFS."""

import logging
from pathlib import Path

import ops

import namenode
from iot_charm import hadoop_node, resources
from iot_charm.errors import DistributionError, IotCharmError
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.dfs_slave import NameNodeForWorkers
from state import CLIENTS, WORKERS, State

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 180
SETTLE_TIMEOUT_S = 60
"""For safe mode to end once the first DataNode is there."""


class NameNodeCharm(ops.CharmBase):
    """Runs the NameNode, tells workers and clients where it is, and makes the clients' home directories."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self._problem = ""
        """What an operator must mend, found while reconciling."""
        for event in (
            self.on.install,
            self.on.start,
            self.on.config_changed,
            self.on.upgrade_charm,
            self.on.update_status,
            self.on[CLIENTS].relation_changed,
            self.on[WORKERS].relation_created,
            self.on[WORKERS].relation_changed,
            self.on[WORKERS].relation_departed,
            self.on[WORKERS].relation_broken,
        ):
            framework.observe(event, self._on_change)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.start_hdfs_action, self._on_start_hdfs)
        framework.observe(self.on.stop_hdfs_action, self._on_stop_hdfs)
        framework.observe(self.on.restart_hdfs_action, self._on_restart_hdfs)
        framework.observe(self.on.backup_hdfs_action, self._on_backup_hdfs)
        framework.observe(self.on.collect_unit_status, self._on_collect_status)

    def _on_change(self, _: ops.EventBase) -> None:
        self._reconcile()

    def _reconcile(self, *, restart: bool = False) -> None:
        """Make the machine match the state; a mistake of an operator leaves everything as it runs."""
        try:
            state = State.from_charm(self)
            if _is_spare(state):
                return
            self.unit.status = ops.MaintenanceStatus("Installing Hadoop")
            namenode.install(resources.fetch(self, "hadoop"))
        except DistributionError as error:
            self._problem = str(error)
            return
        except IotCharmError as error:
            logger.error("nothing is changed: %s", error)
            return
        self.unit.status = ops.MaintenanceStatus("Starting the NameNode")
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

    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        try:
            state = State.from_charm(self)
            seconds = namenode.smoke_test(state.address, replication=state.replication)
        except IotCharmError as error:
            event.fail(str(error))
            return
        event.set_results({"outcome": "wrote, read back and deleted 1 MiB", "seconds": f"{seconds:.2f}"})

    def _on_start_hdfs(self, event: ops.ActionEvent) -> None:
        namenode.allow_start()
        self._start(event, restart=False)

    def _on_restart_hdfs(self, event: ops.ActionEvent) -> None:
        namenode.allow_start()
        self._start(event, restart=True)

    def _start(self, event: ops.ActionEvent, *, restart: bool) -> None:
        self._reconcile(restart=restart)
        try:
            state = State.from_charm(self)
        except IotCharmError as error:
            event.fail(str(error))
            return
        report = namenode.report(state.address)
        if report is None:
            event.fail(self._problem or "the NameNode does not answer; see: journalctl -u hadoop-namenode")
            return
        event.set_results({"datanodes": report.datanodes, "safe-mode": "on" if report.safe_mode else "off"})

    def _on_stop_hdfs(self, event: ops.ActionEvent) -> None:
        namenode.stop()
        event.set_results({"outcome": "stopped until start-hdfs"})

    def _on_backup_hdfs(self, event: ops.ActionEvent) -> None:
        path = Path(event.params["path"])
        if not path.is_absolute():
            event.fail(f"path={str(path)!r}: must be an absolute path")
            return
        try:
            saved = namenode.backup(State.from_charm(self).address, path)
        except IotCharmError as error:
            event.fail(str(error))
            return
        event.set_results({"path": str(saved), "bytes": sum(file.stat().st_size for file in saved.iterdir())})

    def _on_collect_status(self, event: ops.CollectStatusEvent) -> None:
        try:
            state = State.from_charm(self)
        except IotCharmError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        if _is_spare(state):
            event.add_status(ops.BlockedStatus(f"HDFS has one NameNode; scale {self.app.name} to 1 unit"))
            return
        if self._problem:
            event.add_status(ops.BlockedStatus(self._problem))
        if namenode.is_stopped():
            event.add_status(ops.BlockedStatus("HDFS is stopped; action start-hdfs starts it"))
            return
        if state.wants_workers:
            event.add_status(ops.BlockedStatus("Missing required datanode relation"))
        report = namenode.report(state.address)
        if report is None:
            event.add_status(ops.WaitingStatus("Waiting for the NameNode to answer"))
        elif report.datanodes == 0:
            event.add_status(ops.WaitingStatus("Waiting for DataNodes"))
        elif report.safe_mode:
            event.add_status(ops.WaitingStatus("Waiting for HDFS to leave safe mode"))
        else:
            plural = "" if report.datanodes == 1 else "s"
            event.add_status(ops.ActiveStatus(f"Ready ({report.datanodes} datanode{plural})"))


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
