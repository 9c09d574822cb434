#!/usr/bin/env python3
"""Notebooks over the data in HDFS."""

import secrets
from collections.abc import Iterator

import ops
from typing_extensions import override

import notebooks
import zeppelin
from iot_charm import resources
from iot_charm.base import ReconcilingCharm, action
from iot_charm.interfaces.dfs import DfsClient
from iot_lake import note
from iot_lake.page import duration
from server import Server
from state import CLIENTS, HDFS, SPARK, USER, YARN, RunParams, ShowParams, State

ADMIN_SECRET, PASSWORD = "admin", "password"


class ZeppelinCharm(ReconcilingCharm[State]):
    """Installs Zeppelin, sets its interpreters up for Spark on YARN, and brings notebooks in."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow_relations(HDFS, YARN, SPARK, CLIENTS)
        framework.observe(self.on.remove, self._on_remove)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.run_notebook_action, self._on_run_notebook)
        framework.observe(self.on.show_notebook_action, self._on_show_notebook)
        framework.observe(self.on.list_notebooks_action, self._on_list_notebooks)
        framework.observe(self.on.get_admin_credentials_action, self._on_get_admin_credentials)
        framework.observe(self.on.restart_action, self._on_restart)
        framework.observe(self.on.reinstall_action, self._on_reinstall)

    @override
    def load_state(self) -> State:
        return State.from_charm(self)

    @override
    def ask(self) -> None:
        self.publish(HDFS, DfsClient(user=USER))

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        zeppelin.install(resources.fetch(self, "zeppelin"), resources.fetch(self, "spark"))
        settings = self._settings(state)
        zeppelin.configure(settings)
        self.unit.set_ports(zeppelin.PORT)
        zeppelin.ensure_running(settings, restart=restart)
        connection = zeppelin.connect(settings)
        self.unit.set_workload_version(connection.version())
        notebooks.bring(
            connection, [note.build(), *({**notebook.note, "name": notebook.name} for notebook in state.notebooks)]
        )

    def _settings(self, state: State) -> zeppelin.Settings:
        return zeppelin.Settings(
            address=state.address,
            admin_password=self._admin_password(),
            server_heap_mb=state.config.server_heap,
            interpreter_heap_mb=state.config.interpreter_heap,
            driver_memory=state.config.driver_memory,
            namenode=state.namenode,
            resourcemanager=state.resourcemanager,
            spark=state.spark,
        )

    def _admin_password(self) -> str:
        """Return the administrator's password; each unit makes its own, once."""
        label = f"{ADMIN_SECRET}-{self.unit.name.replace('/', '-')}"
        try:
            return self.model.get_secret(label=label).peek_content()[PASSWORD]
        except ops.SecretNotFoundError:
            password = secrets.token_urlsafe(24)
            self.unit.add_secret({PASSWORD: password}, label=label, description="Password of Zeppelin's user admin")
            return password

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        zeppelin.uninstall()

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        problem = _missing(state)
        if problem is not None:
            yield problem
        elif not zeppelin.answers(state.address):
            yield ops.WaitingStatus("Waiting for Zeppelin to answer")
        elif zeppelin.has_web_page():
            yield ops.ActiveStatus("Ready")
        else:
            yield ops.ActiveStatus("Ready (REST only; attach Zeppelin's own distribution for its web page)")

    # Actions

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        found = notebooks.smoke_test(self._connect())
        event.set_results({"outcome": "a %md and a %python paragraph ran", "python": found})

    @action
    def _on_run_notebook(self, event: ops.ActionEvent) -> None:
        params = event.load_params(RunParams)
        problem = _missing(self.load_state())
        if problem is not None:
            event.fail(problem.message)
            return
        outcome = notebooks.run(
            self._connect(), params.name, params.forms, timeout_s=params.timeout, progress=event.log
        )
        results: dict[str, str | int] = {
            "paragraphs": "\n".join(
                f"{paragraph.status}  {duration(paragraph.seconds)}  {paragraph.title}"
                for paragraph in outcome.paragraphs
            ),
            "seconds": f"{sum(paragraph.seconds for paragraph in outcome.paragraphs):.1f}",
            "html": str(outcome.html),
        }
        if outcome.count is not None:
            results["count"] = outcome.count
        event.set_results(results)
        if outcome.problem:
            event.fail(outcome.problem)
        elif params.sent and outcome.count != params.sent:
            event.fail(
                f"the notebook counts {outcome.count} readings, {params.sent} were sent; "
                "those on their way, or in files that are not closed yet, are not counted"
            )

    @action
    def _on_show_notebook(self, event: ops.ActionEvent) -> None:
        executed, path = notebooks.render(self._connect(), event.load_params(ShowParams).name)
        lines = [f"{paragraph.status}  {_took(paragraph)}  {paragraph.title}" for paragraph in executed.paragraphs]
        event.set_results({"paragraphs": "\n".join(lines), "html": str(path)})

    @action
    def _on_list_notebooks(self, event: ops.ActionEvent) -> None:
        names = sorted(self._connect().notes())
        event.set_results({"count": len(names), "notebooks": "\n".join(names)})

    @action
    def _on_get_admin_credentials(self, event: ops.ActionEvent) -> None:
        settings = self._settings(self.load_state())
        event.set_results({"url": settings.url, "username": zeppelin.ADMIN, "password": settings.admin_password})

    @action
    def _on_restart(self, event: ops.ActionEvent) -> None:
        self._restart(event)

    @action
    def _on_reinstall(self, event: ops.ActionEvent) -> None:
        zeppelin.forget_installation()
        self._restart(event)

    def _restart(self, event: ops.ActionEvent) -> None:
        self.reconcile(restart=True)
        if self.problem:
            event.fail(self.problem)
            return
        event.set_results({"version": self._connect().version(), "outcome": "the server answers"})

    def _connect(self) -> Server:
        return zeppelin.connect(self._settings(self.load_state()))


def _missing(state: State) -> ops.StatusBase | None:
    """Say what keeps notebooks from running Spark."""
    if state.missing:
        return ops.BlockedStatus(f"Missing required {state.missing[0]} relation")
    if state.namenode is None:
        return ops.WaitingStatus("Waiting for HDFS")
    if state.resourcemanager is None:
        return ops.WaitingStatus("Waiting for YARN")
    if state.spark is None:
        return ops.WaitingStatus("Waiting for Spark")
    own = zeppelin.spark_version()
    if own and own != state.spark.version:
        return ops.BlockedStatus(
            f"Spark is {own} here and {state.spark.version} at the spark charm: attach one version"
        )
    return None


def _took(paragraph: note.Paragraph) -> str:
    return "-" if paragraph.seconds is None else duration(paragraph.seconds)


if __name__ == "__main__":  # pragma: nocover
    ops.main(ZeppelinCharm)
