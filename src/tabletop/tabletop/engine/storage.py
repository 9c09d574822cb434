"""Storage of type filesystem: folders that the machine keeps over restarts."""

import time
from typing import Any

from tabletop.charmfile import CharmFile
from tabletop.engine.model import Model
from tabletop.errors import TabletopError


def check(charm: CharmFile) -> None:
    """Refuse storage that tabletop has not got.

    Raises:
        TabletopError: the charm needs a block device.
    """
    for one in charm.storage.values():
        if one.type != "filesystem" and one.minimum > 0:
            raise TabletopError(f'storage "{one.name}": tabletop has no storage of type {one.type}, only filesystem')


def add(model: Model, unit: Any, name: str) -> str:
    """Give a unit (its row) one more piece of storage; return its id. Inside `write`."""
    number = model.store.next_number("next_storage")
    storage_id = f"{name}/{number}"
    location = f"{model.inside(unit['machine'])}/storage/{name}/{number}"
    (model.machine_directory(unit["machine"]) / "storage" / name / str(number)).mkdir(parents=True, exist_ok=True)
    model.store.execute(
        "INSERT INTO storage (id, name, unit, location, since) VALUES (?, ?, ?, ?, ?)",
        storage_id,
        name,
        unit["name"],
        location,
        time.time(),
    )
    return storage_id
