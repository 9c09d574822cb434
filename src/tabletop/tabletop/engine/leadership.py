"""The settings that a leader shares with the other units of its application."""

import json
from collections.abc import Mapping

from tabletop.engine.model import Model


def settings(model: Model, application: str) -> dict[str, str]:
    """Return an application's leader settings."""
    text = model.store.value("SELECT data FROM leader_settings WHERE application = ?", application)
    return {} if text is None else json.loads(text)


def version(model: Model, application: str) -> int:
    """Return a number that grows with each change of an application's leader settings; 0: there were none."""
    return model.store.value("SELECT version FROM leader_settings WHERE application = ?", application) or 0


def merge(model: Model, application: str, changes: Mapping[str, str]) -> None:
    """Change leader settings, durably and at once; an empty value removes the key."""
    with model.store.write():
        before = settings(model, application)
        after = {key: value for key, value in {**before, **changes}.items() if value}
        if after == before:
            return
        model.store.execute(
            "INSERT INTO leader_settings (application, version, data) VALUES (?, 1, ?)"
            " ON CONFLICT DO UPDATE SET version = version + 1, data = excluded.data",
            application,
            json.dumps(after),
        )
