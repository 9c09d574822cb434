"""Secrets that an operator owns: added to the model and granted to applications."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabletop.engine import secrets
from tabletop.engine.durations import rfc3339
from tabletop.engine.model import Model, NotFoundError
from tabletop.engine.secrets import Draft
from tabletop.errors import TabletopError


def add_secret(model: Model, name: str, content: Mapping[str, str], info: str | None = None) -> str:
    """Add a secret; return its URI.

    Raises:
        TabletopError: there is one of this name, or the content is empty.
    """
    if not content:
        raise TabletopError("a secret needs content: key=value")
    _check_keys(content)
    with model.store.write():
        if _by_name(model, name) is not None:
            raise TabletopError(f'secret with name "{name}" already exists')
        secret_id = secrets.new_id()
        draft = Draft("model", model.uuid, created=True, content=dict(content), label=name, description=info or "")
        secrets.apply_draft(model, secret_id, draft)
    return f"secret:{secret_id}"


def update_secret(
    model: Model,
    secret: str,
    content: Mapping[str, str] | None = None,
    info: str | None = None,
    name: str | None = None,
    *,
    auto_prune: bool = False,
) -> None:
    """Give a secret a new revision, another name or description.

    Raises:
        NotFoundError: there is no such secret.
        TabletopError: it is a charm's, there is one of that name, or a key won't do.
    """
    _check_keys(content or {})
    with model.store.write():
        row = _own(model, secret)
        taken = _by_name(model, name) if name else None
        if taken not in (None, row["id"]):
            raise TabletopError(f'secret with name "{name}" already exists')
        draft = Draft("model", model.uuid, content=dict(content) if content else None, label=name, description=info)
        secrets.apply_draft(model, row["id"], draft)
        if auto_prune:
            model.store.execute(
                "DELETE FROM secret_revision WHERE secret = ?1"
                " AND revision < (SELECT max(revision) FROM secret_revision WHERE secret = ?1)"
                " AND revision NOT IN (SELECT revision FROM secret_consumer WHERE secret = ?1)",
                row["id"],
            )


def remove_secret(model: Model, secret: str, revision: int | None = None) -> None:
    """Remove a secret or one of its revisions.

    Raises:
        NotFoundError: there is no such secret.
        TabletopError: it is a charm's.
    """
    with model.store.write():
        row = _own(model, secret)
        draft = Draft("model", model.uuid, removed=revision is None)
        if revision is not None:
            draft.removed_revisions.add(revision)
        secrets.apply_draft(model, row["id"], draft)


def grant_secret(model: Model, secret: str, app: str) -> None:
    """Let an application read a secret.

    Raises:
        NotFoundError: there is no such secret.
        TabletopError: it is a charm's.
    """
    with model.store.write():
        row = _own(model, secret)
        model.application(app)
        secrets.apply_draft(model, row["id"], Draft("model", model.uuid, grants={app: None}))


def revoke_secret(model: Model, secret: str, app: str) -> None:
    """Take a grant back.

    Raises:
        NotFoundError: there is no such secret.
        TabletopError: it is a charm's.
    """
    with model.store.write():
        row = _own(model, secret)
        secrets.apply_draft(model, row["id"], Draft("model", model.uuid, revoked={app}))


def list_secrets(model: Model) -> dict[str, Any]:
    """Describe every secret of the model, without contents."""
    with model.store.read():
        rows = model.store.all("SELECT * FROM secret ORDER BY created")
        return {row["id"]: _describe(model, row) for row in rows}


def show_secret(
    model: Model, secret: str, *, reveal: bool = False, revision: int | None = None, revisions: bool = False
) -> dict[str, Any]:
    """Describe a secret, with its content if it is to be revealed."""
    with model.store.read():
        row = _find(model, secret)
        found = _describe(model, row)
        last = secrets.latest(model, row["id"])
        if revision is not None:
            found["revision"] = revision
        content = secrets.content(model, row["id"], revision or last)
        if reveal:
            found["content"] = content
            text = json.dumps(content, sort_keys=True)
            found["checksum"] = hashlib.sha256(text.encode()).hexdigest()
        if revisions:
            found["revisions"] = [
                {
                    "revision": one["revision"],
                    "backend": "internal",
                    "created": rfc3339(one["created"]),
                    "updated": rfc3339(one["created"]),
                }
                for one in model.store.all(
                    "SELECT * FROM secret_revision WHERE secret = ? ORDER BY revision", row["id"]
                )
            ]
    return {row["id"]: found}


def _describe(model: Model, row: Any) -> dict[str, Any]:
    owner = {"model": "<model>"}.get(row["owner_kind"], row["owner"])
    found: dict[str, Any] = {
        "revision": secrets.latest(model, row["id"]),
        "owner": owner,
        "created": rfc3339(row["created"]),
        "updated": rfc3339(row["updated"]),
    }
    if row["description"]:
        found["description"] = row["description"]
    if row["label"]:
        found["name" if row["owner_kind"] == "model" else "label"] = row["label"]
    if row["rotate"] != "never":
        found["rotation"] = row["rotate"]
        found["rotates"] = rfc3339(row["next_rotate"])
    access = _access(model, model.store.all("SELECT * FROM secret_grant WHERE secret = ?", row["id"]))
    if access:
        found["access"] = access
    return found


def _access(model: Model, grants: Sequence[Any]) -> list[dict[str, str]]:
    return [
        {
            "target": secrets.reader_tag(one["subject"]),
            "scope": f"model-{model.uuid}" if one["relation"] is None else f"relation-{one['relation']}",
            "role": "view",
        }
        for one in grants
    ]


def _check_keys(content: Mapping[str, str]) -> None:
    for key in content:
        if not secrets.KEY.match(key):
            raise TabletopError(
                f'key "{key}" not valid: use 3 or more lower-case letters, digits and single hyphens, a letter first'
            )


def _by_name(model: Model, name: str) -> str | None:
    return model.store.value("SELECT id FROM secret WHERE owner_kind = 'model' AND label = ?", name)


def _find(model: Model, secret: str) -> Any:
    plain = secrets.plain_id(secret)
    row = model.store.one("SELECT * FROM secret WHERE id = ? OR (owner_kind = 'model' AND label = ?)", plain, secret)
    if row is None:
        raise NotFoundError(f'secret "{secret}" not found')
    return row


def _own(model: Model, secret: str) -> Any:
    """Return the row of a secret that an operator may change: what a charm owns is the charm's own affair."""
    row = _find(model, secret)
    if row["owner_kind"] != "model":
        raise TabletopError(f'permission denied: secret "{row["id"]}" is owned by {row["owner_kind"]} {row["owner"]}')
    return row
