"""Lays a unit's charm out in its machine's folder."""

import contextlib
import shutil
import zipfile
from pathlib import Path

from tabletop.engine.model import Model


def agent_directory(model: Model, machine: int, unit: str) -> Path:
    """Return a unit's folder on the host."""
    return model.machine_directory(machine) / "agents" / ("unit-" + unit.replace("/", "-"))


def lay_out_charm(model: Model, machine: int, unit: str, digest: str, previous: str) -> None:
    """Make a unit's charm folder hold the files of a charm, and what the unit itself has written there.

    Files of the charm laid out before that are not in the new one go; it can be done again if it was cut short.
    """
    target = agent_directory(model, machine, unit) / "charm"
    draft = target.with_name("charm.new")
    shutil.rmtree(draft, ignore_errors=True)
    model.charm(digest).extract(draft)
    if not target.exists():
        draft.rename(target)
        return
    names = _files(model, digest)
    old = _files(model, previous) if previous else set[str]()
    for name in sorted(old - names, reverse=True):
        path = target / name
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    for name in sorted(names):
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        (draft / name).replace(destination)
    shutil.rmtree(draft)


def _files(model: Model, digest: str) -> set[str]:
    with zipfile.ZipFile(model.charm_path(digest)) as archive:
        return {info.filename for info in archive.infolist() if not info.is_dir()}
