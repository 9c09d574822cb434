#!/usr/bin/env python3
"""A worker of a Hadoop cluster: DataNode and NodeManager."""

import logging

import ops

import worker
from iot_charm import hadoop_node, resources
from iot_charm.errors import DistributionError, IotCharmError
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs_slave import DataNode, NameNodeForWorkers
from iot_charm.interfaces.mapred_slave import NodeManager
from state import HDFS, YARN, State

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 180
"""For a daemon that was just started to register with its master; a busy machine needs its time."""
SETTLE_TIMEOUT_S = 20
"""For one that ran before."""


class WorkerCharm(ops.CharmBase):
    """Runs the two daemons, each while the master it reports to is related.

    What it publishes to a master says that the daemon has registered there, so it is published after that: a master's
    charm can then rely on it.
    """

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
            self.on[HDFS].relation_changed,
            self.on[HDFS].relation_broken,
            self.on[YARN].relation_changed,
            self.on[YARN].relation_broken,
        ):
            framework.observe(event, self._on_change)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.collect_unit_status, self._on_collect_status)

    def _on_change(self, _: ops.EventBase) -> None:
        """Make the machine match the state; a mistake of an operator leaves everything as it runs."""
        try:
            state = State.from_charm(self)
            self.unit.status = ops.MaintenanceStatus("Installing Hadoop")
            worker.install(resources.fetch(self, "hadoop"))
        except DistributionError as error:
            self._problem = str(error)
            return
        except IotCharmError as error:
            logger.error("nothing is changed: %s", error)
            return
        self.unit.set_workload_version(hadoop_node.version())
        settings = _settings(state)
        self._reconcile_datanode(state, settings)
        self._reconcile_nodemanager(state, settings)
        self.unit.set_ports(
            *(worker.DATANODE_PORTS if state.namenode else ()),
            *(worker.NODEMANAGER_PORTS if state.namenode and state.resourcemanager else ()),
        )

    def _reconcile_datanode(self, state: State, settings: worker.Settings) -> None:
        if state.wants_hdfs:
            worker.stop_datanode()
        if state.namenode is None:
            return
        self.unit.status = ops.MaintenanceStatus("Starting the DataNode")
        started = worker.ensure_datanode(settings, _file_system(state.namenode))
        if worker.wait_for_datanode(state.address, START_TIMEOUT_S if started else SETTLE_TIMEOUT_S):
            for relation in self.model.relations[HDFS]:
                DataNode(host=own_address(self, relation)).publish(relation, self.unit)

    def _reconcile_nodemanager(self, state: State, settings: worker.Settings) -> None:
        if state.wants_yarn or state.wants_hdfs:
            worker.stop_nodemanager()
        if state.namenode is None or state.resourcemanager is None:
            return
        self.unit.status = ops.MaintenanceStatus("Starting the NodeManager")
        started = worker.ensure_nodemanager(settings, _file_system(state.namenode), state.resourcemanager)
        timeout_s = START_TIMEOUT_S if started else SETTLE_TIMEOUT_S
        if worker.wait_for_nodemanager(state.address, state.resourcemanager, timeout_s):
            for relation in self.model.relations[YARN]:
                NodeManager(
                    host=own_address(self, relation), memory_mb=settings.memory_mb, vcores=settings.vcores
                ).publish(relation, self.unit)

    def _on_stop(self, _: ops.StopEvent) -> None:
        worker.stop_nodemanager()
        worker.stop_datanode()

    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        try:
            state = State.from_charm(self)
        except IotCharmError as error:
            event.fail(str(error))
            return
        if not worker.has_datanode_registered(state.address):
            event.fail("the DataNode does not take part in HDFS; see: journalctl -u hadoop-datanode")
            return
        outcome = "DataNode registered"
        if state.resourcemanager is not None:
            if not worker.has_nodemanager_registered(state.address, state.resourcemanager):
                event.fail("the NodeManager does not take part in YARN; see: journalctl -u hadoop-nodemanager")
                return
            outcome += ", NodeManager registered"
        event.set_results({"outcome": outcome})

    def _on_collect_status(self, event: ops.CollectStatusEvent) -> None:
        try:
            state = State.from_charm(self)
        except IotCharmError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        if self._problem:
            event.add_status(ops.BlockedStatus(self._problem))
        if state.wants_hdfs:
            event.add_status(ops.BlockedStatus("Missing required namenode relation"))
            return
        if state.namenode is None:
            event.add_status(ops.WaitingStatus("Waiting for HDFS"))
            return
        if not worker.has_datanode_registered(state.address):
            event.add_status(ops.WaitingStatus("Waiting for the DataNode to register with the NameNode"))
        if state.wants_yarn:
            event.add_status(ops.ActiveStatus("Ready (datanode)"))
        elif state.resourcemanager is None:
            event.add_status(ops.WaitingStatus("Waiting for YARN"))
        elif not worker.has_nodemanager_registered(state.address, state.resourcemanager):
            event.add_status(ops.WaitingStatus("Waiting for the NodeManager to register with the ResourceManager"))
        else:
            event.add_status(ops.ActiveStatus("Ready (datanode and nodemanager)"))


def _settings(state: State) -> worker.Settings:
    config = state.config
    return worker.Settings(
        address=state.address,
        memory_mb=config.nodemanager_memory,
        vcores=config.nodemanager_vcores,
        datanode_heap_mb=config.datanode_heap,
        nodemanager_heap_mb=config.nodemanager_heap,
        reserved_mb=config.datanode_reserved,
    )


def _file_system(namenode: NameNodeForWorkers) -> worker.FileSystem:
    return worker.FileSystem(
        host=namenode.host,
        port=namenode.port,
        replication=namenode.replication,
        block_size=namenode.block_size,
        cluster_id=namenode.cluster_id,
    )


if __name__ == "__main__":  # pragma: nocover
    ops.main(WorkerCharm)
