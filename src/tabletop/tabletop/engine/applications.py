"""Applications: deploying and refreshing them, and their configuration."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabletop.charmfile import CharmFile
from tabletop.engine import architecture, placement, relations, storagespec
from tabletop.engine.model import Model, NotFoundError, keep_file
from tabletop.errors import TabletopError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]*[a-z][a-z0-9]*)*\Z")


def deploy(
    model: Model,
    charm: Path,
    app: str,
    *,
    num_units: int = 1,
    config: Mapping[str, Any] | None = None,
    resources: Mapping[str, str] | None = None,
    to: Sequence[str] = (),
    constraints: Mapping[str, Any] | None = None,
    trust: bool = False,
    storage: Mapping[str, str] | None = None,
    attach: Sequence[str] = (),
) -> list[str]:
    """Add an application with its first units; return their names.

    Raises:
        TabletopError: the charm can't be read, or a name, option, resource or placement won't do; nothing is done then.
    """
    if not _NAME.match(app):
        raise TabletopError(
            f'invalid application name "{app}": use lower-case letters, digits and hyphens, with a letter in each part'
        )
    found = CharmFile.open(charm)
    if found.subordinate:
        if to:
            raise TabletopError("cannot use --num-units or --to with subordinate application")
        if constraints:
            raise TabletopError("constraints do not apply to subordinate applications")
        num_units = 0
    else:
        constraints = architecture.pinned(model, found, constraints or {}, to)
    stores = storagespec.directives(found, storage or {})
    values = _check_options(found, config or {})
    _check_resources(found, resources or {})
    if model.store.one("SELECT 1 FROM application WHERE name = ?", app) is not None:
        raise TabletopError(f'cannot add application "{app}": application already exists')
    digest, _ = keep_file(charm, model.directory / "charms", ".charm")
    kept = _keep_resources(model, found, resources or {})
    store = model.store
    with store.write():
        revision: int = store.value(
            "SELECT coalesce(max(charm_rev) + 1, 0) FROM application WHERE charm_name = ?", found.name
        )
        store.execute(
            "INSERT INTO application (name, charm, charm_name, charm_rev, config, trust, constraints, since, storage)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            app,
            digest,
            found.name,
            revision,
            json.dumps(values),
            int(trust),
            json.dumps(dict(constraints or {})),
            time.time(),
            json.dumps({name: [one.size, one.count] for name, one in stores.items()}),
        )
        _set_resources(model, app, kept)
        relations.create_peers(model, app, found)
        return placement.add_units(model, app, num_units, to, attach)


def refresh(
    model: Model,
    app: str,
    charm: Path | None,
    resources: Mapping[str, str],
    *,
    config: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> None:
    """Give an application another build of its charm, or other resources, or both, and options and trust with them.

    Raises:
        TabletopError: it is another charm, lacks an endpoint that is in use, or a resource or an option won't do.
    """
    row = model.application(app)
    found = CharmFile.open(charm) if charm else model.charm(row["charm"])
    if found.name != row["charm_name"]:
        raise TabletopError(f'cannot refresh "{app}": its charm is "{row["charm_name"]}", not "{found.name}"')
    machines = model.store.all("SELECT DISTINCT machine FROM unit WHERE application = ?", app)
    for machine in machines:
        architecture.check_charm(found, architecture.of_machine(model, machine["machine"]))
    used = {one["name"] for one in model.store.all("SELECT name FROM endpoint WHERE application = ?", app)}
    missing = sorted(used - set(found.endpoints))
    if missing:
        raise TabletopError(f'cannot refresh "{app}": it would break the relation "{app}:{missing[0]}"')
    _check_resources(found, resources)
    # Before the state is held: hooks and whoever asks for the status go on while large files are copied.
    digest = keep_file(charm, model.directory / "charms", ".charm")[0] if charm else row["charm"]
    kept = _keep_resources(model, found, resources)
    store = model.store
    with store.write():
        store.execute(
            "UPDATE application SET charm = ?, charm_rev = charm_rev + ?, charm_version = charm_version + 1,"
            " config = ? WHERE name = ?",
            digest,
            1 if charm else 0,
            json.dumps(_still_valid(found, json.loads(row["config"]))),
            app,
        )
        _set_resources(model, app, kept)
        relations.create_peers(model, app, found)
        if config:
            set_config(model, app, config)
        if trust:
            set_trust(model, app, trust=True)


def set_config(model: Model, app: str, values: Mapping[str, Any], reset: Sequence[str] = ()) -> None:
    """Set options of an application and take others back to their defaults; all or none.

    Raises:
        TabletopError: an option is unknown or a value doesn't fit, as `option "count" expected int, got "abc"`.
    """
    with model.store.write():
        row = model.application(app)
        charm = model.charm(row["charm"])
        wanted = dict(values)
        trust = wanted.pop("trust", None)
        checked = _check_options(charm, wanted)
        _check_options(charm, dict.fromkeys(reset))
        kept = {name: value for name, value in json.loads(row["config"]).items() if name not in reset}
        model.store.execute("UPDATE application SET config = ? WHERE name = ?", json.dumps({**kept, **checked}), app)
        if trust is not None:
            set_trust(model, app, trust=str(trust).lower() == "true")


def set_trust(model: Model, app: str, *, trust: bool) -> None:
    """Note whether an application may have the cloud's credentials, of which there are none here."""
    with model.store.write():
        model.application(app)
        model.store.execute("UPDATE application SET trust = ? WHERE name = ?", int(trust), app)


def get_config(model: Model, app: str) -> dict[str, Any]:
    """Return what `juju config --format json` shows."""
    row = model.application(app)
    charm = model.charm(row["charm"])
    given = json.loads(row["config"])
    settings: dict[str, Any] = {}
    for name, option in sorted(charm.config.items()):
        setting: dict[str, Any] = {"description": option.description, "type": option.type}
        if option.default is not None:
            setting["default"] = option.default
        if name in given:
            setting |= {"value": given[name], "source": "user"}
        elif option.default is not None:
            setting |= {"value": option.default, "source": "default"}
        else:
            setting["source"] = "unset"
        settings[name] = setting
    trust = bool(row["trust"])
    return {
        "application": app,
        "application-config": {
            "trust": {
                "default": False,
                "description": "Does this application have access to trusted credentials",
                "source": "user" if trust else "default",
                "type": "bool",
                "value": trust,
            }
        },
        "charm": row["charm_name"],
        "settings": settings,
    }


def actions(model: Model, app: str) -> dict[str, Any]:
    """Return an application's actions with their descriptions and schemas."""
    return {
        name: {
            "description": action.description,
            "type": "object",
            "title": name,
            "properties": dict(action.params),
            "required": list(action.required),
            "additionalProperties": action.additional_properties,
        }
        for name, action in model.charm_of(app).actions.items()
    }


def forget_files(model: Model) -> None:
    """Remove the charms and resources that nothing uses any more; only while no command runs."""
    store = model.store
    charms = {row[0] for row in store.all("SELECT charm FROM application UNION SELECT charm FROM unit")}
    resources = {row[0] for row in store.all("SELECT sha256 FROM resource")}
    for path in (model.directory / "charms").iterdir():
        if path.stem not in charms:
            path.unlink()
    for path in (model.directory / "resources").iterdir():
        if path.name not in resources:
            path.unlink()


def _check_options(charm: CharmFile, values: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in values.items():
        option = charm.config.get(name)
        if option is None:
            raise TabletopError(f'unknown option "{name}": charm "{charm.name}" has no such option')
        if value is None:
            continue
        try:
            checked[name] = option.parse(value)
        except ValueError:
            raise TabletopError(f'option "{name}" expected {option.type}, got {json.dumps(value)}') from None
    return checked


def _still_valid(charm: CharmFile, values: Mapping[str, Any]) -> dict[str, Any]:
    valid: dict[str, Any] = {}
    for name, value in values.items():
        try:
            valid |= _check_options(charm, {name: value})
        except TabletopError:
            continue
    return valid


def _check_resources(charm: CharmFile, resources: Mapping[str, str]) -> None:
    for name, path in resources.items():
        known = charm.resources.get(name)
        if known is None:
            raise TabletopError(f'unrecognized resource "{name}": charm "{charm.name}" has no such resource')
        if known.type != "file":
            raise TabletopError(f'resource "{name}" is of type {known.type}; a machine can only use files')
        if not Path(path).is_file():
            raise NotFoundError(f'resource "{name}": no such file: {path}')


def _keep_resources(model: Model, charm: CharmFile, resources: Mapping[str, str]) -> list[tuple[str, str, str, int]]:
    kept: list[tuple[str, str, str, int]] = []
    for name, path in resources.items():
        digest, size = keep_file(Path(path), model.directory / "resources")
        kept.append((name, digest, charm.resources[name].filename or Path(path).name, size))
    return kept


def _set_resources(model: Model, app: str, kept: Sequence[tuple[str, str, str, int]]) -> None:
    for name, digest, filename, size in kept:
        model.store.execute(
            "INSERT INTO resource (application, name, sha256, filename, size) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, filename = excluded.filename, size = excluded.size",
            app,
            name,
            digest,
            filename,
            size,
        )
