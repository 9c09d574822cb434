"""The shape that the charms share: most events end in one reconcile, then the status is collected.

A charm says which events it follows, how its state is read, how the machine is made to match it, and where the unit
then stands. What goes wrong in a way that an operator can mend (`IotCharmError`) is told by the unit's status or the
action's failure; anything else is a bug and fails the hook.
"""

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import ops

from iot_charm import progress
from iot_charm.errors import InvalidConfigError, IotCharmError
from iot_charm.interfaces.databag import Databag

logger = logging.getLogger(__name__)

StateT = TypeVar("StateT")
HandlerT = TypeVar("HandlerT", bound=ops.Object)
"""A charm, or an observer of its actions."""


class ReconcilingCharm(ops.CharmBase, Generic[StateT]):
    """Base of a charm that reconciles; ``StateT`` is what it knows at one event."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.problem = ""
        """What an operator must mend, found while reconciling."""
        self.departing: ops.Unit | None = None
        """The remote unit that leaves its relation with this event; nothing is owed to it any more."""
        progress.listen(self._show)
        self.follow(
            self.on.install, self.on.start, self.on.config_changed, self.on.upgrade_charm, self.on.update_status
        )
        framework.observe(self.on.collect_unit_status, self._on_collect_status)

    # For the charm to say

    def load_state(self) -> StateT:
        """Read the state.

        Raises:
            IotCharmError: an option or the other end of a relation has a value that can't be.
        """
        raise NotImplementedError

    def ask(self) -> None:
        """Ask related applications for what depends on no option."""

    def apply(self, state: StateT, *, restart: bool) -> None:
        """Make the machine and the relations match the state.

        Args:
            state: what is wanted.
            restart: start the workload anew even if nothing changed.

        Raises:
            IotCharmError: something that an operator must mend; what ran before goes on running.
        """
        raise NotImplementedError

    def statuses(self, state: StateT) -> Iterable[ops.StatusBase]:
        """Say where the unit stands; the gravest counts."""
        raise NotImplementedError

    # What comes of it

    def follow(self, *events: ops.BoundEvent) -> None:
        """Reconcile on these events as well."""
        for event in events:
            self.framework.observe(event, self._on_change)

    def follow_relations(self, *endpoints: str) -> None:
        """Reconcile on whatever happens to the relations of these endpoints."""
        for endpoint in endpoints:
            on = self.on[endpoint]
            self.follow(on.relation_created, on.relation_changed, on.relation_departed, on.relation_broken)

    def reconcile(self, *, restart: bool = False) -> None:
        """Make the machine match the state; a mistake of an operator leaves everything as it runs."""
        try:
            self.ask()
            self.apply(self.load_state(), restart=restart)
        except InvalidConfigError as error:
            logger.error("keeping the last good configuration: %s", error)
        except IotCharmError as error:
            logger.error("nothing more is changed: %s", error)
            self.problem = str(error)

    def active_relations(self, endpoint: str) -> list[ops.Relation]:
        """Return the relations of an endpoint that are not being broken just now."""
        return [relation for relation in self.model.relations[endpoint] if relation.active]

    def publish(self, endpoint: str, told: Databag) -> None:
        """Publish the same on each of an endpoint's active relations, as this unit."""
        for relation in self.active_relations(endpoint):
            told.publish(relation, self.unit)

    def _on_change(self, event: ops.EventBase) -> None:
        if isinstance(event, ops.RelationDepartedEvent):
            self.departing = event.departing_unit
        self.reconcile()

    def _on_collect_status(self, event: ops.CollectStatusEvent) -> None:
        if self.problem:
            event.add_status(ops.BlockedStatus(self.problem))
        try:
            state = self.load_state()
        except IotCharmError as error:
            event.add_status(ops.BlockedStatus(str(error)))
            return
        for status in self.statuses(state):
            event.add_status(status)

    def _show(self, text: str) -> None:
        self.unit.status = ops.MaintenanceStatus(text)


def failing_with(
    *errors: type[Exception],
) -> Callable[[Callable[[HandlerT, ops.ActionEvent], None]], Callable[[HandlerT, ops.ActionEvent], None]]:
    """Make a decorator that has an action fail with an error's text, where its handler raises one.

    Args:
        errors: to be told in that way beside an operator's error.
    """

    def decorate(handler: Callable[[HandlerT, ops.ActionEvent], None]) -> Callable[[HandlerT, ops.ActionEvent], None]:
        @functools.wraps(handler)
        def handle(observer: HandlerT, event: ops.ActionEvent) -> None:
            try:
                handler(observer, event)
            except (IotCharmError, *errors) as error:
                event.fail(str(error))

        return handle

    return decorate


action = failing_with()
"""Decorates the handler of an action that fails by an operator's errors alone."""
