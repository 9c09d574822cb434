#!/usr/bin/env python3
"""Where Spark applications are submitted, and where it shows what became of them."""

import logging
from collections.abc import Iterator

import ops
from typing_extensions import override

import history
import spark
import submit
from iot_charm import resources
from iot_charm.base import ReconcilingCharm, action
from iot_charm.interfaces.dfs import DfsClient
from iot_charm.interfaces.spark import SparkService
from iot_charm.webhdfs import WebHdfsError
from memory import amount
from share import Share
from state import CLIENTS, HDFS, USER, YARN, ListParams, PiParams, State, SubmitParams

logger = logging.getLogger(__name__)


class SparkCharm(ReconcilingCharm[State]):
    """Installs Spark, puts its jars into HDFS, runs the history server and the applications that actions submit."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow(self.on.leader_elected)
        self.follow_relations(HDFS, YARN, CLIENTS)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.sparkpi_action, self._on_sparkpi)
        framework.observe(self.on.spark_submit_action, self._on_spark_submit)
        framework.observe(self.on.list_jobs_action, self._on_list_jobs)
        framework.observe(self.on.start_spark_job_history_server_action, self._on_start_history)
        framework.observe(self.on.stop_spark_job_history_server_action, self._on_stop_history)
        framework.observe(self.on.restart_spark_job_history_server_action, self._on_restart_history)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def ask(self) -> None:
        self.publish(HDFS, DfsClient(user=USER))

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        spark.install(resources.fetch(self, "spark"))
        self.unit.set_workload_version(spark.version())
        settings = _settings(state)
        if settings is None:
            return
        spark.configure(settings)
        try:
            self._ensure_share(state)
        except WebHdfsError as error:
            logger.warning("HDFS is not ready for Spark's jars, trying again at the next event: %s", error)
            return
        if history.ensure_running(state.address, heap_mb=state.config.history_heap, restart=restart):
            history.wait(state.address)
        self.unit.set_ports(spark.HISTORY_PORT)
        self._publish(settings)

    def _ensure_share(self, state: State) -> None:
        share = _share(state)
        # Units of one application have one installation: one of them writes the archive.
        if share is not None and self.unit.is_leader():
            share.ensure(spark.HOME / "jars", spark.DATA)

    def _publish(self, settings: spark.Settings) -> None:
        for relation in self.model.relations[CLIENTS]:
            SparkService(
                version=spark.version(),
                execution_mode=settings.execution_mode,
                archive=settings.archive,
                event_log_dir=settings.event_log_dir,
                history_url=f"http://{settings.address}:{spark.HISTORY_PORT}",
                driver_memory=settings.driver_memory,
                executor_memory=settings.executor_memory,
            ).publish(relation, self.unit)

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        history.uninstall()
        spark.uninstall()

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        problem = _missing(state)
        if problem is not None:
            yield problem
        elif history.is_stopped():
            note = "history server stopped, start-spark-job-history-server starts it"
            yield ops.ActiveStatus(f"Ready ({state.config.spark_execution_mode}); {note}")
        elif history.answers(state.address):
            yield ops.ActiveStatus(f"Ready ({state.config.spark_execution_mode})")
        else:
            yield ops.WaitingStatus("Waiting for the history server to answer")

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        state = self._ready_state(event)
        if state is None:
            return
        found = self._pi(event, state, partitions=2)
        if found is None:
            return
        value, run = found
        if abs(value - 3.14159) > 0.05:
            event.fail(f"the job ran, but its result is wrong: {value}")
            return
        history_server = "stopped" if history.is_stopped() else "answers"
        if not history.is_stopped() and not history.answers(state.address):
            event.fail(
                "the job succeeded, but the history server does not answer; see: journalctl -u " + history.SERVICE
            )
            return
        event.set_results(
            {
                "outcome": f"a job ran ({state.config.spark_execution_mode}) and its result is right",
                "application-id": run.application,
                "history-server": history_server,
                "seconds": f"{run.seconds:.1f}",
            }
        )

    @action
    def _on_sparkpi(self, event: ops.ActionEvent) -> None:
        state = self._ready_state(event)
        if state is None:
            return
        found = self._pi(event, state, partitions=event.load_params(PiParams).partitions)
        if found is not None:
            value, run = found
            event.set_results({"pi": value, "application-id": run.application, "seconds": f"{run.seconds:.1f}"})

    def _pi(self, event: ops.ActionEvent, state: State, *, partitions: int) -> tuple[float, submit.Run] | None:
        assert state.namenode is not None  # noqa: S101 - a ready state has one
        try:
            return submit.pi(
                partitions,
                address=state.address,
                namenode=state.namenode,
                progress=event.log,
                resourcemanager=state.resourcemanager,
            )
        except submit.SubmitError as error:
            _fail(event, error)
        except WebHdfsError as error:
            event.fail(f"the job's result can't be read: {error}")
        return None

    @action
    def _on_spark_submit(self, event: ops.ActionEvent) -> None:
        state = self._ready_state(event)
        if state is None:
            return
        params = event.load_params(SubmitParams)
        try:
            words = params.words()
        except ValueError as error:
            event.fail(f"options or job-args: {error}")
            return
        try:
            submit.check_job(params.job)
            run = submit.submit(
                words,
                address=state.address,
                timeout_s=params.timeout,
                progress=event.log,
                resourcemanager=state.resourcemanager,
            )
        except submit.SubmitError as error:
            _fail(event, error)
            return
        event.set_results({"application-id": run.application, "seconds": f"{run.seconds:.1f}", "output": run.output})

    @action
    def _on_list_jobs(self, event: ops.ActionEvent) -> None:
        state = self.load_state()
        jobs = history.jobs(state.address, state.resourcemanager, event.load_params(ListParams).limit)
        event.set_results({"count": len(jobs), "jobs": _table(jobs)})

    @action
    def _on_start_history(self, event: ops.ActionEvent) -> None:
        self._start_history(event, restart=False)

    @action
    def _on_restart_history(self, event: ops.ActionEvent) -> None:
        self._start_history(event, restart=True)

    def _start_history(self, event: ops.ActionEvent, *, restart: bool) -> None:
        history.allow_start()
        self.reconcile(restart=restart)
        state = self.load_state()
        if not history.answers(state.address):
            problem = self.problem or getattr(_missing(state), "message", "")
            event.fail(problem or f"the history server does not answer; see: journalctl -u {history.SERVICE}")
            return
        event.set_results({"url": f"http://{state.address}:{spark.HISTORY_PORT}"})

    def _on_stop_history(self, event: ops.ActionEvent) -> None:
        history.stop()
        event.set_results({"outcome": "stopped until start-spark-job-history-server"})

    def _ready_state(self, event: ops.ActionEvent) -> State | None:
        state = self.load_state()
        problem = _missing(state)
        if problem is not None:
            event.fail(problem.message)
            return None
        return state


def _missing(state: State) -> ops.StatusBase | None:
    """Say what keeps applications from running."""
    if state.wants_hdfs:
        return ops.BlockedStatus("Missing required namenode relation")
    if state.wants_yarn:
        return ops.BlockedStatus("Missing required resourcemanager relation (or set spark_execution_mode=local)")
    if state.namenode is None:
        return ops.WaitingStatus("Waiting for HDFS")
    if state.config.on_yarn and state.resourcemanager is None:
        return ops.WaitingStatus("Waiting for YARN")
    share = _share(state)
    try:
        if share is None or not share.is_complete():
            return ops.WaitingStatus("Waiting for Spark's jars in HDFS")
    except WebHdfsError:
        return ops.WaitingStatus("Waiting for HDFS")
    return None


def _share(state: State) -> Share | None:
    return Share(state.namenode, spark.version(), spark.build()) if state.namenode else None


def _settings(state: State) -> spark.Settings | None:
    share = _share(state)
    if share is None or not state.is_complete:
        return None
    return spark.Settings(
        address=state.address,
        execution_mode=state.config.spark_execution_mode,
        driver_memory=amount(state.config.driver_memory),
        executor_memory=amount(state.config.executor_memory),
        executor_instances=state.config.executor_instances,
        archive=share.archive,
        event_log_dir=share.event_log_dir,
        namenode=share.namenode,
        resourcemanager=state.resourcemanager,
    )


def _fail(event: ops.ActionEvent, error: submit.SubmitError) -> None:
    if error.run is not None:
        event.set_results(
            {"application-id": error.run.application, "output": error.run.output, "log": error.run.log[-2000:]}
        )
    event.fail(str(error))


def _table(jobs: list[history.Job]) -> str:
    rows = [("APPLICATION", "STATE", "USER", "STARTED (UTC)", "SECONDS", "NAME")]
    for job in jobs:
        started = "-" if job.started is None else f"{job.started:%Y-%m-%d %H:%M:%S}"
        seconds = "-" if job.seconds is None else f"{job.seconds:.0f}"
        rows.append((job.identifier, job.state, job.user, started, seconds, job.name))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows
    )


if __name__ == "__main__":  # pragma: nocover
    ops.main(SparkCharm)
