#!/usr/bin/env python3
"""A worker of a Hadoop cluster: DataNode and NodeManager."""

from collections.abc import Iterator

import ops
from typing_extensions import override

import worker
from iot_charm import hadoop_node, resources
from iot_charm.base import ReconcilingCharm, action
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs_slave import DataNode, NameNodeForWorkers
from iot_charm.interfaces.mapred_slave import NodeManager
from state import HDFS, YARN, State

START_TIMEOUT_S = 180
"""For a daemon that was just started to register with its master; a busy machine needs its time."""
SETTLE_TIMEOUT_S = 20
"""For one that ran before."""


class WorkerCharm(ReconcilingCharm[State]):
    """Runs the two daemons, each while the master it reports to is related.

    What it publishes to a master says that the daemon has registered there, so it is published after that: a master's
    charm can then rely on it.
    """

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow_relations(HDFS, YARN)
        framework.observe(self.on.stop, self._on_stop)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        worker.install(resources.fetch(self, "hadoop"))
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
        started = worker.ensure_datanode(settings, _file_system(state.namenode))
        if worker.wait_for_datanode(state.address, START_TIMEOUT_S if started else SETTLE_TIMEOUT_S):
            for relation in self.model.relations[HDFS]:
                DataNode(host=own_address(self, relation)).publish(relation, self.unit)

    def _reconcile_nodemanager(self, state: State, settings: worker.Settings) -> None:
        if state.wants_yarn or state.wants_hdfs:
            worker.stop_nodemanager()
        if state.namenode is None or state.resourcemanager is None:
            return
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

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if state.wants_hdfs:
            yield ops.BlockedStatus("Missing required namenode relation")
            return
        if state.namenode is None:
            yield ops.WaitingStatus("Waiting for HDFS")
            return
        if not worker.has_datanode_registered(state.address):
            yield ops.WaitingStatus("Waiting for the DataNode to register with the NameNode")
        if state.wants_yarn:
            yield ops.ActiveStatus("Ready (datanode)")
        elif state.resourcemanager is None:
            yield ops.WaitingStatus("Waiting for YARN")
        elif not worker.has_nodemanager_registered(state.address, state.resourcemanager):
            yield ops.WaitingStatus("Waiting for the NodeManager to register with the ResourceManager")
        else:
            yield ops.ActiveStatus("Ready (datanode and nodemanager)")

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
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
