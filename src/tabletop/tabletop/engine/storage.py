"""Storage of type filesystem: directories beside a machine's own disk, which outlive the machine.

A piece of storage that is attached lies in the folder that its machine sees of the model, and is mounted at its
location; one that is detached lies in the model's own folder. It is moved by renaming. What the database says counts:
to attach it changes the database alone, and it is moved when it is first mounted, so that a command that is refused or
cut short leaves it where it was.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tabletop.boot import Bind
from tabletop.engine import storagespec
from tabletop.engine.model import Model, NotFoundError
from tabletop.errors import TabletopError


def add(model: Model, unit: Any, name: str, size: int | None = None) -> str:
    """Give a unit (its row) one more piece of storage, of a size in MiB; return its id. Inside `write`.

    Raises:
        TabletopError: its location is taken on the unit's machine.
    """
    storage_id = f"{name}/{model.store.next_number('next_storage')}"
    charm = model.charm_of(unit["application"])
    declared = charm.storage[name]
    if size is None:
        size = storagespec.size_of(charm, declared, None)
    location = location_of(model, unit, name, storage_id)
    _directory(model, unit["machine"], storage_id).mkdir(parents=True, exist_ok=True)
    model.store.execute(
        "INSERT INTO storage (id, name, unit, location, since, size, read_only) VALUES (?, ?, ?, ?, ?, ?, ?)",
        storage_id,
        name,
        unit["name"],
        location,
        time.time(),
        size,
        int(declared.read_only),
    )
    return storage_id


def add_more(model: Model, unit: str, name: str, text: str) -> list[str]:
    """Give a unit more storage, as an operator asks for it with `name=text`; return the new ids.

    Raises:
        TabletopError: there is no such unit or storage, it would be too many, or less than the charm needs.
    """
    with model.store.write():
        row = _living(model, unit)
        charm = model.charm_of(row["application"])
        if name not in charm.storage:
            raise TabletopError(f'charm "{charm.name}" has no store called "{name}"')
        size, count = storagespec.parse_directive(name, text) if text else (None, None)
        storagespec.check_kind(charm, charm.storage[name])
        count = 1 if count is None else count
        storagespec.check_maximum(charm, charm.storage[name], count + len(_of_name(model, row["name"], name)))
        size = storagespec.size_of(charm, charm.storage[name], size)
        return [add(model, row, name, size) for _ in range(count)]


def attach(model: Model, unit: str, storage_id: str) -> None:
    """Attach a piece of storage that is detached to a unit.

    Raises:
        TabletopError: it is attached already, or the unit's charm doesn't take it.
    """
    with model.store.write():
        row = _living(model, unit)
        piece = find(model, storage_id)
        charm = model.charm_of(row["application"])
        if piece["unit"] is not None:
            raise TabletopError(f"cannot attach storage {storage_id} to unit {unit}: it is attached to {piece['unit']}")
        declared = charm.storage.get(piece["name"])
        if declared is None:
            raise TabletopError(f'cannot attach storage {storage_id}: charm "{charm.name}" has no "{piece["name"]}"')
        storagespec.check_maximum(charm, declared, 1 + len(_of_name(model, row["name"], piece["name"])))
        location = location_of(model, row, piece["name"], storage_id)
        model.store.execute(
            "UPDATE storage SET unit = ?, location = ?, life = 'alive', read_only = ?, since = ? WHERE id = ?",
            row["name"],
            location,
            int(declared.read_only),
            time.time(),
            storage_id,
        )


def detach(model: Model, storage_id: str, *, destroy: bool = False) -> None:
    """Begin to detach a piece of storage from its unit, which is told first; with `destroy`, it goes after that.

    Raises:
        TabletopError: it isn't attached, or its unit can't be without it.
    """
    with model.store.write():
        piece = find(model, storage_id)
        if piece["unit"] is None:
            raise TabletopError(f"storage {storage_id} is not attached")
        unit = model.unit(piece["unit"])
        if unit["life"] == "alive":
            charm = model.charm_of(unit["application"])
            declared = charm.storage.get(piece["name"])
            if declared is not None and len(_of_name(model, unit["name"], piece["name"])) <= declared.minimum:
                raise TabletopError(
                    f'cannot detach storage {storage_id}: charm "{charm.name}" needs at least {declared.minimum} of'
                    f' its store "{piece["name"]}"; add another, or remove the unit'
                )
        _leave(model, storage_id, destroy=destroy)


def remove(model: Model, storage_id: str, *, force: bool = False) -> None:
    """Remove a piece of storage with what is on it; with `force`, one that is attached, after its unit was told.

    Raises:
        TabletopError: it is attached, and no force.
    """
    with model.store.write():
        piece = find(model, storage_id)
        if piece["unit"] is None:
            _forget(model, storage_id)
        elif force:
            detach(model, storage_id, destroy=True)
        else:
            raise TabletopError(f"storage {storage_id} is attached to {piece['unit']}; detach it, or give --force")


def release(model: Model, unit: str, *, destroy: bool) -> None:
    """Mark the storage of a unit that is being removed: to be kept, or to be destroyed; inside `write`."""
    for row in _of(model, unit):
        _leave(model, row["id"], destroy=destroy)


def detached(model: Model, storage_id: str) -> None:
    """Take a piece of storage from its unit, which has been told; inside `write`, and after `unmount`."""
    piece = _placed(model, storage_id)
    if piece is None:
        return
    _move(_directory(model, piece["machine"], storage_id), _directory(model, None, storage_id))
    model.store.execute(
        "UPDATE storage SET unit = NULL, location = '', since = ? WHERE id = ?", time.time(), storage_id
    )
    if piece["life"] == "dying":
        _forget(model, storage_id)


def lost_untold(model: Model, unit: str, told: Sequence[str]) -> list[str]:
    """Return what a unit is to lose of its storage without having been told that it had it (`told` is what it was).

    Juju's uniter runs no hook for it (`storage/resolver.go`, `maybeShortCircuitRemoval`).
    """
    return [row["id"] for row in _of(model, unit) if row["life"] != "alive" and row["id"] not in told]


def unmount(model: Model, storage_id: str) -> None:
    """Unmount a piece of storage that is to go, ahead of `detached` and not inside `write`: its machine may be booting.

    That takes minutes, in which the state is not to be held.

    Raises:
        TabletopError: the machine can't let go of it.
    """
    with model.store.read():
        piece = _placed(model, storage_id)
        bind = None if piece is None else _bind(model, piece)
    if piece is not None and bind is not None:
        model.machines.unbind(piece["host"], bind.target)


def unmount_all(model: Model, unit: str) -> None:
    """Unmount all that a unit has, ahead of `detach_all`; see `unmount`."""
    for row in _of(model, unit):
        unmount(model, row["id"])


def detach_all(model: Model, unit: str) -> None:
    """Take what is left of its storage from a unit that goes; inside `write`."""
    for row in _of(model, unit):
        detached(model, row["id"])


def find(model: Model, storage_id: str) -> Any:
    """Return the row of a piece of storage.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = model.store.one("SELECT * FROM storage WHERE id = ?", storage_id)
    if row is None:
        raise NotFoundError(f'storage "{storage_id}" not found')
    return row


def mount(model: Model, storage_id: str) -> None:
    """Have a piece of storage mounted at its location in its unit's machine, which runs.

    Raises:
        TabletopError: the machine refuses.
    """
    with model.store.read():
        piece = _placed(model, storage_id)
        if piece is None:
            return
        _bring(model, piece)
    bind = _bind(model, piece)
    if bind is not None:
        model.machines.bind(piece["host"], bind)


def binds(model: Model, machine: int) -> list[Bind]:
    """Return what a machine is to have mounted for its units."""
    with model.store.read():
        rows = model.store.all(
            "SELECT storage.*, unit.machine FROM storage JOIN unit ON unit.name = storage.unit"
            " WHERE unit.machine = ? ORDER BY storage.rowid",
            machine,
        )
        for row in rows:
            _bring(model, row)
    return [bind for bind in (_bind(model, row) for row in rows) if bind is not None]


def _bind(model: Model, piece: Any) -> Bind | None:
    """Return how a piece of storage (its row, with its machine) is mounted; None if it lies at its location."""
    source = _directory(model, piece["machine"], piece["id"])
    if piece["location"] in (str(source), _seen(model, piece["machine"], piece["id"])) and not piece["read_only"]:
        return None
    return Bind(source, piece["location"], bool(piece["read_only"]))


def _leave(model: Model, storage_id: str, *, destroy: bool) -> None:
    model.store.execute(
        "UPDATE storage SET life = ?, since = ? WHERE id = ?",
        "dying" if destroy else "detaching",
        time.time(),
        storage_id,
    )


def _forget(model: Model, storage_id: str) -> None:
    model.store.execute("DELETE FROM storage WHERE id = ?", storage_id)
    model.store.after_commit(lambda: shutil.rmtree(_directory(model, None, storage_id), ignore_errors=True))


def _directory(model: Model, machine: int | None, storage_id: str) -> Path:
    """Return where the host has a piece of storage: of a machine, or detached."""
    parent = model.directory if machine is None else model.machine_directory(machine)
    return parent / "storage" / storage_id


def _seen(model: Model, machine: int, storage_id: str) -> str:
    """Return where a machine sees a piece of storage without its being mounted elsewhere."""
    return f"{model.inside(machine)}/storage/{storage_id}"


def _bring(model: Model, piece: Any) -> None:
    """See that a piece of storage that is attached (its row, with its machine) lies in its machine's folder.

    Inside `read`: it may not be detached meanwhile.
    """
    _move(_directory(model, None, piece["id"]), _directory(model, piece["machine"], piece["id"]))


def _move(source: Path, target: Path) -> None:
    # The second time, after a power cut in the midst of the first, there is nothing left to move.
    if source.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def location_of(model: Model, unit: Any, name: str, storage_id: str) -> str:
    """Return where a unit's machine is to have a piece of storage: Juju's rule (storage.FilesystemMountPoint).

    Raises:
        TabletopError: that is taken on the machine.
    """
    declared = model.charm_of(unit["application"]).storage[name]
    if model.settings.juju_directory is None or not declared.location:
        return _seen(model, unit["machine"], storage_id)
    location = PurePosixPath(declared.location)
    if declared.maximum != 1:
        location /= storage_id
    rows = model.store.all(
        "SELECT storage.id, storage.location FROM storage JOIN unit ON unit.name = storage.unit WHERE unit.machine = ?",
        unit["machine"],
    )
    for row in rows:
        other = PurePosixPath(row["location"])
        if other.is_relative_to(location) or location.is_relative_to(other):
            raise TabletopError(
                f'cannot place unit {unit["name"]} on machine {unit["machine"]}: mount point "{location}" of its'
                f' storage "{name}" and "{other}" of {row["id"]} are in each other\'s way'
            )
    return str(location)


def _living(model: Model, unit: str) -> Any:
    row = model.unit(unit)
    if row["life"] != "alive":
        raise TabletopError(f'unit "{row["name"]}" is being removed')
    return row


def _placed(model: Model, storage_id: str) -> Any:
    """Return the row of a piece of storage with its `machine`, a number, and its `host`, a name; None if detached."""
    return model.store.one(
        "SELECT storage.*, unit.machine, machine.name AS host FROM storage JOIN unit ON unit.name = storage.unit"
        " JOIN machine ON machine.number = unit.machine WHERE id = ?",
        storage_id,
    )


def _of(model: Model, unit: str) -> Sequence[Any]:
    return model.store.all("SELECT * FROM storage WHERE unit = ? ORDER BY rowid", unit)


def _of_name(model: Model, unit: str, name: str) -> list[Any]:
    return [row for row in _of(model, unit) if row["name"] == name and row["life"] == "alive"]
