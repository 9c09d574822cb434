#!/usr/bin/env python3
"""The ResourceManager of YARN, and MapReduce's job history."""

from collections.abc import Iterator

import ops
from typing_extensions import override

import resourcemanager
from iot_charm import hadoop_node, resources
from iot_charm.base import ReconcilingCharm, action
from iot_charm.interfaces.databag import own_address
from iot_charm.interfaces.dfs import DfsClient, NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.interfaces.mapred_slave import ResourceManagerForWorkers
from state import CLIENTS, HDFS, WORKERS, State

START_TIMEOUT_S = 180


class ResourceManagerCharm(ReconcilingCharm[State]):
    """Runs the ResourceManager from the start and the job history once HDFS is there; tells the others where."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow_relations(HDFS, CLIENTS, WORKERS)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.testdfsio_action, self._on_testdfsio)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def ask(self) -> None:
        self.publish(HDFS, DfsClient(user=resourcemanager.MAPRED_USER))

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        if _is_spare(state):
            return
        resourcemanager.install(resources.fetch(self, "hadoop"))
        self.unit.set_workload_version(hadoop_node.version())
        self.unit.set_ports(*resourcemanager.PORTS)
        file_system = _file_system(state.namenode)
        resourcemanager.ensure_resourcemanager(state.address, file_system, heap_mb=state.config.resourcemanager_heap)
        if file_system is not None:
            if resourcemanager.ensure_historyserver(
                state.address, file_system, heap_mb=state.config.historyserver_heap
            ):
                resourcemanager.wait_for_historyserver(state.address, START_TIMEOUT_S)
        elif state.wants_hdfs:
            resourcemanager.stop_historyserver()
        if resourcemanager.wait_for_resourcemanager(state.address, START_TIMEOUT_S):
            self._publish(state)

    def _publish(self, state: State) -> None:
        at = resourcemanager.Addresses(state.address)
        for relation in self.model.relations[WORKERS]:
            ResourceManagerForWorkers(
                host=own_address(self, relation),
                port=at.port,
                scheduler_port=at.scheduler_port,
                tracker_port=at.tracker_port,
                web_port=at.web_port,
            ).publish(relation, self.unit)
        for relation in self.model.relations[CLIENTS]:
            ResourceManager(
                host=own_address(self, relation),
                port=at.port,
                scheduler_port=at.scheduler_port,
                tracker_port=at.tracker_port,
                web_port=at.web_port,
                history_port=at.history_port,
                history_web_port=at.history_web_port,
                nodemanagers=resourcemanager.nodemanagers(state.address) or 0,
            ).publish(relation, self.unit)

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        resourcemanager.stop_historyserver()
        resourcemanager.stop_resourcemanager()

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if _is_spare(state):
            yield ops.BlockedStatus(f"YARN has one ResourceManager; scale {self.app.name} to 1 unit")
            return
        if state.wants_hdfs:
            yield ops.BlockedStatus("Missing required namenode relation")
        elif state.namenode is None:
            yield ops.WaitingStatus("Waiting for HDFS")
        elif not resourcemanager.has_history(state.address):
            yield ops.WaitingStatus("Waiting for the job history server to answer")
        if state.wants_workers:
            yield ops.BlockedStatus("Missing required nodemanager relation")
        nodemanagers = resourcemanager.nodemanagers(state.address)
        if nodemanagers is None:
            yield ops.WaitingStatus("Waiting for the ResourceManager to answer")
        elif nodemanagers == 0:
            yield ops.WaitingStatus("Waiting for NodeManagers")
        else:
            plural = "" if nodemanagers == 1 else "s"
            yield ops.ActiveStatus(f"Ready ({nodemanagers} nodemanager{plural})")

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        if self._refuses_jobs(event):
            return
        event.log("running a MapReduce job of one map and one reduce")
        seconds = resourcemanager.smoke_test()
        event.set_results({"outcome": "a MapReduce job of one map and one reduce", "seconds": f"{seconds:.1f}"})

    @action
    def _on_testdfsio(self, event: ops.ActionEvent) -> None:
        if self._refuses_jobs(event):
            return
        files, size = event.params["files"], event.params["size"]
        event.log(f"{event.params['mode']}: {files} files of {size} MB, one map task each")
        event.set_results(resourcemanager.testdfsio(event.params["mode"], files=files, size_mb=size))

    def _refuses_jobs(self, event: ops.ActionEvent) -> bool:
        """Fail an action whose job could only wait; True if it did."""
        state = self.load_state()
        if state.namenode is None:
            event.fail("a job needs HDFS, which is not there yet")
        elif not resourcemanager.nodemanagers(state.address):
            event.fail("a job needs a NodeManager, and none is running")
        else:
            return False
        return True


def _file_system(namenode: NameNode | None) -> resourcemanager.FileSystem | None:
    """Return the file system, once the history server's user has its home there."""
    if namenode is None or resourcemanager.MAPRED_USER not in namenode.users:
        return None
    return resourcemanager.FileSystem(
        host=namenode.host,
        port=namenode.port,
        replication=namenode.replication,
        block_size=namenode.block_size,
    )


def _is_spare(state: State) -> bool:
    """Tell whether this unit is one too many: there are several, and it is not the one that was there first."""
    return state.planned_units > 1 and not resourcemanager.is_set_up()


if __name__ == "__main__":  # pragma: nocover
    ops.main(ResourceManagerCharm)
