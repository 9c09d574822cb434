"""What a unit is told of secrets: that they changed, are due, have expired, or that nobody follows a revision."""

import time
from dataclasses import replace
from typing import Any

from tabletop.engine import secrets
from tabletop.engine.lifecycle import Event
from tabletop.engine.model import Model
from tabletop.engine.rotation import next_rotation


def pending_events(model: Model, unit: Any) -> tuple[Event, ...]:
    """Return the secret events that a unit (its row) is to get."""
    name: str = unit["name"]
    store = model.store
    events: list[Event] = []
    changed = store.all(
        "SELECT consumer.secret, consumer.label, max(revision.revision) AS latest, secret.owner_kind, secret.owner"
        " FROM secret_consumer AS consumer JOIN secret ON secret.id = consumer.secret"
        " JOIN secret_revision AS revision ON revision.secret = consumer.secret"
        " WHERE consumer.unit = ? GROUP BY consumer.secret HAVING latest > consumer.told ORDER BY consumer.secret",
        name,
    )
    events += [
        _event("secret-changed", row["secret"], row["label"], row["latest"])
        for row in changed
        if not secrets.manages(model, row, name) and secrets.may_read(model, {**dict(row), "id": row["secret"]}, name)
    ]
    now = time.time()
    for secret in secrets.managed_rows(model, unit):
        if secret["next_rotate"] is not None and secret["next_rotate"] <= now:
            event = _event("secret-rotate", secret["id"], secret["label"], None)
            events.append(replace(event, version=secrets.latest(model, secret["id"])))
        expired = store.all(
            "SELECT revision FROM secret_revision WHERE secret = ? AND expire <= ? AND expired_told <= ?",
            secret["id"],
            now,
            now - model.settings.secret_retry,
        )
        events += [_event("secret-expired", secret["id"], secret["label"], row["revision"]) for row in expired]
        obsolete = store.all(
            "SELECT revision FROM secret_revision AS mine WHERE secret = ? AND NOT obsolete_told"
            " AND revision < (SELECT max(revision) FROM secret_revision WHERE secret = mine.secret)"
            " AND NOT EXISTS (SELECT 1 FROM secret_consumer AS consumer"
            " WHERE consumer.secret = mine.secret AND consumer.revision = mine.revision) ORDER BY revision",
            secret["id"],
        )
        events += [_event("secret-remove", secret["id"], secret["label"], row["revision"]) for row in obsolete]
    return tuple(events)


def next_due(model: Model, unit: Any) -> float | None:
    """Return when the next rotation or expiry of a unit's secrets is due."""
    moments: list[float] = []
    for secret in secrets.managed_rows(model, unit):
        expire = model.store.value(
            "SELECT min(CASE WHEN expired_told THEN max(expire, expired_told + ?) ELSE expire END)"
            " FROM secret_revision WHERE secret = ?",
            model.settings.secret_retry,
            secret["id"],
        )
        moments += [moment for moment in (secret["next_rotate"], expire) if moment is not None]
    return min(moments, default=None)


def acknowledge(model: Model, unit: str, event: Event) -> None:
    """Note that a unit has had a secret event; inside `write`."""
    store = model.store
    match event.kind:
        case "secret-changed":
            store.execute(
                "UPDATE secret_consumer SET told = ? WHERE secret = ? AND unit = ?",
                event.secret_revision,
                secrets.plain_id(event.secret_id),
                unit,
            )
        case "secret-rotate":
            _schedule_rotation(model, secrets.plain_id(event.secret_id), event.version)
        case "secret-expired":
            store.execute(
                "UPDATE secret_revision SET expired_told = ? WHERE secret = ? AND revision = ?",
                int(time.time()),
                secrets.plain_id(event.secret_id),
                event.secret_revision,
            )
        case "secret-remove":
            store.execute(
                "UPDATE secret_revision SET obsolete_told = 1 WHERE secret = ? AND revision = ?",
                secrets.plain_id(event.secret_id),
                event.secret_revision,
            )
        case _:
            pass


def _schedule_rotation(model: Model, secret_id: str, before: int) -> None:
    """Set when a secret is rotated next: soon again, if the hook that was to rotate it made no new revision.

    Soon, too, if the latest revision expires before the next regular time.
    """
    store = model.store
    secret = store.one("SELECT * FROM secret WHERE id = ?", secret_id)
    if secret is None:
        return
    now = time.time()
    since = secret["next_rotate"] or now
    regular = next_rotation(secret["rotate"], since)
    if regular is not None:
        last = secrets.latest(model, secret_id)
        expires = secrets.expiry(model, secret_id, last)
        soon = since + model.settings.secret_retry
        too_late = expires is not None and soon < expires < regular
        regular = max(now, soon if too_late or last == before else regular)
    store.execute("UPDATE secret SET next_rotate = ? WHERE id = ?", regular, secret_id)


def _event(kind: str, secret_id: str, label: str, revision: int | None) -> Event:
    return Event(kind, secret_id=f"secret:{secret_id}", secret_label=label, secret_revision=revision)
