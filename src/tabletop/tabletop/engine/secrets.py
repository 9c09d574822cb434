"""Secrets: what they hold, who may read which revision, who may change them. Contents never reach a log."""

import json
import re
import secrets as entropy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tabletop.engine.model import Model
from tabletop.engine.rotation import next_rotation
from tabletop.errors import TabletopError

KEY = re.compile(r"[a-z](?:-?[a-z0-9]){2,}\Z")
"""Juju's rule for the keys of a secret's content, of secret-add as of add-secret."""
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"


class SecretError(TabletopError):
    """A secret can't be had; the text is what Juju's hook tools say."""


@dataclass(slots=True)
class Draft:
    """What a hook has done to one secret and not committed yet; None leaves a field as it was.

    `touched`: a hook tool has changed it, so it is checked at the hook's end whether the unit may.
    `follow`: the unit is to follow the revision that is committed.
    """

    owner_kind: str
    owner: str
    created: bool = False
    touched: bool = False
    follow: bool = False
    label: str | None = None
    description: str | None = None
    rotate: str | None = None
    expire: float | None = None
    content: dict[str, str] | None = None
    grants: dict[str, int | None] = field(default_factory=dict[str, int | None])
    revoked: set[str] = field(default_factory=set[str])
    removed: bool = False
    removed_revisions: set[int] = field(default_factory=set[int])


def new_id() -> str:
    """Return a new secret's id: 20 characters, as Juju's are."""
    return "".join(entropy.choice(_ALPHABET) for _ in range(20))


def plain_id(uri: str) -> str:
    """Return the id in `secret:<id>`, `secret://<model>/<id>` or `<id>`."""
    return uri.removeprefix("secret:").rpartition("/")[2]


def find(model: Model, uri: str) -> Any:
    """Return the row of a secret.

    Raises:
        SecretError: there is none.
    """
    row = model.store.one("SELECT * FROM secret WHERE id = ?", plain_id(uri))
    if row is None:
        raise SecretError(f'secret "{plain_id(uri)}" not found')
    return row


def latest(model: Model, secret_id: str) -> int:
    """Return the latest revision's number; 0 if there is none."""
    return model.store.value("SELECT max(revision) FROM secret_revision WHERE secret = ?", secret_id) or 0


def content(model: Model, secret_id: str, revision: int) -> dict[str, str]:
    """Return what a revision holds.

    Raises:
        SecretError: the revision has been removed.
    """
    text = model.store.value(
        "SELECT content FROM secret_revision WHERE secret = ? AND revision = ?", secret_id, revision
    )
    if text is None:
        raise SecretError(f'secret revision "{secret_id}" {revision} not found')
    return json.loads(text)


def manages(model: Model, secret: Any, unit: str) -> bool:
    """Tell whether a unit may change a secret: its owner, or the leader of the application that owns it."""
    if secret["owner_kind"] == "unit":
        return secret["owner"] == unit
    return secret["owner_kind"] == "application" and model.leader(secret["owner"]) == unit


def may_read(model: Model, secret: Any, unit: str) -> bool:
    """Tell whether a unit may read a secret."""
    application = unit.partition("/")[0]
    if secret["owner"] in (unit, application):
        return True
    return bool(
        model.store.value(
            "SELECT count(*) FROM secret_grant WHERE secret = ? AND subject IN (?, ?)", secret["id"], unit, application
        )
    )


def managed(model: Model, unit: str, drafts: Mapping[str, Draft]) -> dict[str, Any]:
    """Return the secrets that a unit manages, as a hook with such drafts sees them: id to row, None for a new one."""
    rows = managed_rows(model, model.unit(unit))
    found = {row["id"]: row for row in sorted(rows, key=lambda row: row["created"])}
    found |= {key: None for key, draft in drafts.items() if draft.created}
    return {key: row for key, row in found.items() if key not in drafts or not drafts[key].removed}


def grants(model: Model, secret_id: str, draft: Draft) -> dict[str, int | None]:
    """Return who may read a secret, by the relation they got that for, with what a draft changes in it."""
    rows = model.store.all("SELECT subject, relation FROM secret_grant WHERE secret = ?", secret_id)
    found = {row["subject"]: row["relation"] for row in rows} | draft.grants
    return {subject: relation for subject, relation in found.items() if subject not in draft.revoked}


def reader_tag(subject: str) -> str:
    """Return Juju's tag of who a secret is granted to: a unit or an application."""
    return f"unit-{subject.replace('/', '-')}" if "/" in subject else f"application-{subject}"


def expiry(model: Model, secret_id: str, revision: int) -> float | None:
    """Return when a revision expires."""
    return model.store.value(
        "SELECT expire FROM secret_revision WHERE secret = ? AND revision = ?", secret_id, revision
    )


def check_draft(model: Model, unit: str, secret_id: str, draft: Draft) -> None:
    """Refuse what a hook did to a secret that its unit may not change.

    Raises:
        SecretError: it may not, or the secret isn't there, or another of the owner's has its label.
    """
    if not draft.touched or (draft.created and draft.removed):
        return
    owner = draft.owner
    if not draft.created:
        secret = find(model, secret_id)
        owner = secret["owner"]
        if not manages(model, secret, unit):
            mine = secret["owner_kind"] == "application" and owner == unit.partition("/")[0]
            raise SecretError(f'"{unit}" is not leader of "{owner}"' if mine else "permission denied")
        for revision in draft.removed_revisions:
            content(model, secret_id, revision)
    taken = model.store.value(
        "SELECT count(*) FROM secret WHERE label = ? AND owner = ? AND id != ?", draft.label, owner, secret_id
    )
    if draft.label and taken:
        raise SecretError(f'secret with label "{draft.label}" already exists')


def follow(model: Model, secret_id: str, unit: str, revision: int, label: str | None) -> None:
    """Note which revision a unit follows, and its label for the secret."""
    with model.store.write():
        model.store.execute(
            "INSERT INTO secret_consumer (secret, unit, label, revision, told) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET revision = excluded.revision, told = max(told, excluded.told)",
            secret_id,
            unit,
            label or "",
            revision,
            revision,
        )
        if label:
            model.store.execute(
                "UPDATE secret_consumer SET label = ? WHERE secret = ? AND unit = ?", label, secret_id, unit
            )


def apply_draft(model: Model, secret_id: str, draft: Draft) -> None:
    """Commit what a hook did to a secret; inside `write`."""
    store = model.store
    now = time.time()
    if draft.removed:
        store.execute("DELETE FROM secret WHERE id = ?", secret_id)
        return
    if draft.created:
        store.execute(
            "INSERT INTO secret (id, owner_kind, owner, created, updated) VALUES (?, ?, ?, ?, ?)",
            secret_id,
            draft.owner_kind,
            draft.owner,
            now,
            now,
        )
    elif store.value("SELECT count(*) FROM secret WHERE id = ?", secret_id) == 0:
        return
    for column, value in (("label", draft.label), ("description", draft.description)):
        if value is not None:
            store.execute(f"UPDATE secret SET {column} = ?, updated = ? WHERE id = ?", value, now, secret_id)  # noqa: S608
    if draft.rotate is not None and draft.rotate != store.value("SELECT rotate FROM secret WHERE id = ?", secret_id):
        store.execute(
            "UPDATE secret SET rotate = ?, next_rotate = ?, updated = ? WHERE id = ?",
            draft.rotate,
            next_rotation(draft.rotate, now),
            now,
            secret_id,
        )
    _add_revision(model, secret_id, draft, now)
    for subject, relation in draft.grants.items():
        store.execute(
            "INSERT INTO secret_grant (secret, subject, relation) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET relation = excluded.relation",
            secret_id,
            subject,
            relation,
        )
    for subject in draft.revoked:
        store.execute("DELETE FROM secret_grant WHERE secret = ? AND subject = ?", secret_id, subject)
    for revision in draft.removed_revisions:
        store.execute("DELETE FROM secret_revision WHERE secret = ? AND revision = ?", secret_id, revision)
    if latest(model, secret_id) == 0:
        store.execute("DELETE FROM secret WHERE id = ?", secret_id)


def _add_revision(model: Model, secret_id: str, draft: Draft, now: float) -> None:
    store = model.store
    last = latest(model, secret_id)
    unchanged = draft.content is None or (last and content(model, secret_id, last) == draft.content)
    if not unchanged:
        store.execute(
            "INSERT INTO secret_revision (secret, revision, content, created) VALUES (?, ?, ?, ?)",
            secret_id,
            last + 1,
            json.dumps(draft.content),
            now,
        )
        store.execute("UPDATE secret SET updated = ? WHERE id = ?", now, secret_id)
        last += 1
    if draft.expire is not None:
        store.execute(
            "UPDATE secret_revision SET expire = ?, expired_told = 0 WHERE secret = ? AND revision = ?",
            draft.expire,
            secret_id,
            last,
        )


def managed_rows(model: Model, unit: Any) -> list[Any]:
    """Return the rows of the secrets that a unit (its row) manages."""
    name, application = unit["name"], unit["application"]
    owners = (name, application) if model.leader(application) == name else (name, name)
    return list(model.store.all("SELECT * FROM secret WHERE owner IN (?, ?) AND owner_kind != 'model'", *owners))
