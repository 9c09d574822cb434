"""Storage: what a unit gets, what it is told of it, and what becomes of it."""

import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
from leftovers import short_directory
from world import SETTINGS, World

from tabletop.boot import Bind
from tabletop.engine import refusals, transaction
from tabletop.engine import storage as stores
from tabletop.engine.agent import UnitAgent
from tabletop.engine.hooks import HookContext
from tabletop.engine.lifecycle import Event
from tabletop.engine.operation import Operation
from tabletop.engine.refusals import CommitError
from tabletop.engine.storagespec import parse_directive, parse_size, show_size
from tabletop.errors import TabletopError

DETACHING = Event("storage-detaching", storage_id="data/0")


def storage(world: World) -> dict[str, Any]:
    return world.controller.storage("m").get("storage", {})


def where(world: World, storage_id: str) -> Path:
    """Return where the one unit that has it sees a piece of storage."""
    (unit,) = storage(world)[storage_id]["attachments"]["units"].values()
    return Path(unit["location"])


@pytest.mark.parametrize(
    ("text", "mib"), [("512M", 512), ("1G", 1024), ("1.5G", 1536), ("2GiB", 2048), ("1T", 1 << 20)]
)
def test_sizes(text: str, mib: int) -> None:
    assert parse_size(text) == mib


def test_sizes_are_shown_as_juju_shows_them() -> None:
    assert (show_size(512), show_size(1536)) == ("512 MiB", "1.5 GiB")


def test_directives() -> None:
    assert parse_directive("data", "2") == (None, 2)
    assert parse_directive("data", "rootfs,3,1G") == (1024, 3)
    for wrong in ("big", "1G,2G", "1,2", "", "ebs,1G", "-1"):
        with pytest.raises(
            TabletopError, match=r'storage "data": .* is neither a count, a size such as 1G, nor a pool'
        ):
            parse_directive("data", wrong)


def test_a_unit_is_told_of_all_its_storage_before_its_installation(world: World) -> None:
    world.deploy("hoarder", "box", storage={"logs": "2", "cache": "500M"})
    world.settle()
    events = [event.strip() for event in world.events("box/0")]
    assert sorted(events[:4]) == [
        "cache-storage-attached",
        "data-storage-attached",
        "logs-storage-attached",
        "logs-storage-attached",
    ]
    assert events[4] == "install"
    assert sorted(storage(world)) == ["cache/3", "data/0", "logs/1", "logs/2"]
    world.controller.add_unit("m", "box")
    world.settle()
    assert len(storage(world)) == 8, "each further unit gets the same"


def test_jubilant_reads_it_from_the_status(world: World) -> None:
    world.deploy("hoarder", "box", storage={"cache": "500M"})
    world.settle()
    status = jubilant.Status._from_dict(world.status())  # pyright: ignore[reportPrivateUsage]
    data = status.storage.storage["data/0"]
    assert (data.kind, data.life, data.status.current) == ("filesystem", "alive", "attached")
    assert data.attachments is not None
    assert data.attachments.units["box/0"].machine == "0"
    (cache,) = [one for one in status.storage.filesystems.values() if one.storage == "cache/2"]
    assert cache.size == 500
    assert cache.attachments.machines["0"].read_only
    assert status.storage.filesystems["0"].size == 2048, "the charm's minimum"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nope": "1G"}, 'no store called "nope" .it has: cache, common, data, disk, logs.'),
        ({"data": "2"}, 'store "data": at most 1 instances supported, 2 specified'),
        ({"logs": "4"}, 'store "logs": at most 3 instances supported, 4 specified'),
        ({"logs": "0"}, 'store "logs": 1 instances required, 0 specified'),
        ({"data": "1G"}, 'store "data": minimum storage size is 2.0 GiB, 1.0 GiB specified'),
        ({"disk": "1G"}, 'store "disk": tabletop has no storage of type block, only filesystem'),
        ({"common": "1G"}, 'store "common": shared storage support not implemented'),
        ({"data": "ebs,4G"}, "the pools here are tabletop, rootfs, lxd"),
    ],
)
def test_what_can_t_be_had_is_refused_and_nothing_is_deployed(
    world: World, given: dict[str, str], message: str
) -> None:
    with pytest.raises(TabletopError, match=message):
        world.deploy("hoarder", "box", storage=given)
    assert world.status()["applications"] == {}


def test_a_unit_s_storage_stays_when_it_goes_and_another_unit_takes_it_up(world: World) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    (where(world, "data/0") / "treasure").write_text("gold")
    world.clear()
    world.controller.remove_unit("m", "box/0")
    world.until(lambda: not world.units(), "box/0 being gone")
    gone = [event.strip() for event in world.events("box/0")]
    assert {"data-storage-detaching", "logs-storage-detaching"} <= set(gone)
    assert gone.index("data-storage-detaching") < gone.index("stop")
    assert {one["status"]["current"] for one in storage(world).values()} == {"detached"}
    assert all("attachments" not in one for one in storage(world).values())
    world.until(lambda: not world.status()["machines"])
    world.controller.add_unit("m", "box", attach=["data/0"])
    world.settle()
    assert (where(world, "data/0") / "treasure").read_text() == "gold"
    assert sorted(storage(world)) == ["data/0", "logs/1", "logs/2"]
    assert world.out("box/1", "storage-get -s data/0 location") == str(where(world, "data/0"))
    with pytest.raises(TabletopError, match="it is attached to box/1"):
        world.controller.attach_storage("m", "box/1", ["data/0"])
    with pytest.raises(TabletopError, match="at most 1 instances"):
        world.controller.add_storage("m", "box/1", {"data": ""})
    world.controller.attach_storage("m", "box/1", ["logs/1"])
    world.settle()
    assert world.out("box/1", "storage-list logs").split() == ["logs/1", "logs/2"]


def test_storage_is_destroyed_where_that_is_asked_for(world: World) -> None:
    world.deploy("hoarder", "box", num_units=2)
    world.settle()
    lost = where(world, "data/0")
    world.controller.remove_unit("m", "box/0", destroy_storage=True)
    world.until(lambda: list(world.units()) == ["box/1"])
    assert not lost.exists()
    assert sorted(storage(world)) == ["data/2", "logs/3"]
    world.controller.remove_application("m", "box", destroy_storage=True)
    world.until(lambda: not world.status()["applications"])
    assert storage(world) == {}
    world.until(lambda: not [*(world.directory / "state/models/m/storage").glob("*/*")], "its folders being gone")


def test_an_operator_adds_detaches_and_removes(world: World) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    world.clear()
    assert world.controller.add_storage("m", "box/0", {"logs": "1,512M"}) == ["logs/2"]
    world.settle()
    assert world.events("box/0") == ["logs-storage-attached"]
    (where(world, "logs/2") / "kept").write_text("yes")
    world.controller.detach_storage("m", ["logs/2"])
    world.settle()
    assert world.events("box/0")[1:] == ["logs-storage-detaching"]
    assert storage(world)["logs/2"]["status"]["current"] == "detached"
    assert world.out("box/0", "storage-list logs") == "logs/1"
    with pytest.raises(TabletopError, match='needs at least 1 of its store "logs"'):
        world.controller.detach_storage("m", ["logs/1"])
    with pytest.raises(TabletopError, match="logs/1 is attached to box/0; detach it, or give --force"):
        world.controller.remove_storage("m", ["logs/1"])
    with pytest.raises(TabletopError, match='store "logs": minimum storage size is 256 MiB, 128 MiB specified'):
        world.controller.add_storage("m", "box/0", {"logs": "128M"})
    with pytest.raises(TabletopError, match="storage logs/2 is not attached"):
        world.controller.detach_storage("m", ["logs/2"])
    world.controller.remove_storage("m", ["logs/2"])
    assert "logs/2" not in storage(world)
    world.controller.add_storage("m", "box/0", {"logs": ""})
    found = world.controller.storage("m")["filesystems"]
    assert found["3"]["size"] == found["1"]["size"] == 1024, "without a size, whenever it is added"
    with pytest.raises(TabletopError, match='storage "logs/2" not found'):
        world.controller.remove_storage("m", ["logs/2"])


def test_storage_that_is_taken_away_before_the_unit_was_told_of_it_goes_without_a_hook(world: World) -> None:
    world.behave("box-0", "update-status", f"until [ -e {world.directory}/go ]; do sleep 0.01; done")
    world.deploy("hoarder", "box")
    world.settle()
    world.clear()
    world.controller.model_config("m", {"update-status-hook-interval": "100ms"})
    world.until(lambda: world.all_events() == ["box/0 update-status"])
    world.controller.model_config("m", {"update-status-hook-interval": "5m"})
    assert world.controller.add_storage("m", "box/0", {"logs": "2"}) == ["logs/2", "logs/3"]
    world.controller.detach_storage("m", ["logs/2"])
    world.controller.remove_storage("m", ["logs/3"], force=True)
    (world.directory / "go").touch()
    world.until(lambda: storage(world)["logs/2"]["status"]["current"] == "detached", "logs/2 being detached")
    world.settle()
    assert world.all_events() == ["box/0 update-status"]
    assert sorted(storage(world)) == ["data/0", "logs/1", "logs/2"]
    world.controller.attach_storage("m", "box/0", ["logs/2"])
    world.settle()
    assert world.events("box/0")[1:] == ["logs-storage-attached"]


def test_storage_that_is_taken_away_while_storage_attached_fails_is_detached_once_that_has_succeeded(
    world: World,
) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    world.clear()
    world.behave("box-0", "logs-storage-attached", f"[ -e {world.directory}/go ]")
    world.controller.add_storage("m", "box/0", {"logs": "1"})
    world.until(lambda: world.units()["box/0"]["workload-status"]["current"] == "error")
    world.controller.detach_storage("m", ["logs/2"])
    (world.directory / "go").touch()
    world.settle_well()
    assert world.events("box/0")[-2:] == ["logs-storage-attached", "logs-storage-detaching"]
    assert storage(world)["logs/2"]["status"]["current"] == "detached"


def test_a_unit_removed_by_force_leaves_its_storage(world: World) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    (where(world, "data/0") / "treasure").write_text("gold")
    world.controller.remove_unit("m", "box/0", force=True)
    world.until(lambda: not world.status()["machines"])
    assert (world.directory / "state/models/m/storage/data/0/treasure").read_text() == "gold"


def test_storage_and_what_a_unit_was_told_of_it_survive_the_daemon(world: World) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    before = storage(world)
    (where(world, "data/0") / "treasure").write_text("gold")
    world.clear()
    world.restart()
    world.settle()
    assert storage(world) == before
    assert world.all_events() == []
    assert (where(world, "data/0") / "treasure").read_text() == "gold"


def test_what_is_refused_half_way_leaves_storage_as_it_was(world: World) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    (where(world, "data/0") / "treasure").write_text("gold")
    world.controller.remove_unit("m", "box/0")
    world.until(lambda: not world.units() and not world.status()["machines"], "box/0 being gone")
    with pytest.raises(TabletopError, match='storage "nope/9" not found'):
        world.controller.remove_storage("m", ["data/0", "nope/9"])
    with pytest.raises(TabletopError, match='storage "nope/9" not found'):
        world.controller.add_unit("m", "box", attach=["data/0", "nope/9"])
    assert storage(world)["data/0"]["status"]["current"] == "detached"
    world.controller.add_unit("m", "box", attach=["data/0"])
    world.settle()
    assert (where(world, "data/0") / "treasure").read_text() == "gold"


@pytest.fixture
def elsewhere() -> Iterator[World]:
    """A world whose machines see their folders as /var/lib/juju, as real ones do; it runs no hooks."""
    with short_directory() as directory:
        made = World(directory, dataclasses.replace(SETTINGS, juju_directory="/var/lib/juju", machine_poll=60))
        made.machines.broken.update({"m-0", "m-1"})
        try:
            yield made
        finally:
            made.close()


def test_locations(elsewhere: World) -> None:
    elsewhere.deploy("hoarder", "box", storage={"cache": "1"})
    assert {one: where(elsewhere, one) for one in storage(elsewhere)} == {
        "data/0": Path("/srv/data"),
        "logs/1": Path("/srv/logs/logs/1"),
        "cache/2": Path("/var/lib/juju/storage/cache/2"),
    }
    runner = elsewhere.controller._runner("m")  # pyright: ignore[reportPrivateUsage]
    folder = elsewhere.directory / "state/models/m/machines/0/storage"
    assert stores.binds(runner.model, 0) == [
        Bind(folder / "data/0", "/srv/data"),
        Bind(folder / "logs/1", "/srv/logs/logs/1"),
        Bind(folder / "cache/2", "/var/lib/juju/storage/cache/2", read_only=True),
    ]
    with pytest.raises(TabletopError, match='mount point "/srv/data" of its storage "data" and "/srv/data" of data/0'):
        elsewhere.deploy("hoarder", "other", to=["0"])
    assert list(elsewhere.status()["applications"]) == ["box"]


def test_a_hook_that_adds_storage_where_another_unit_has_some_is_refused_as_a_whole(elsewhere: World) -> None:
    elsewhere.deploy("hoarder", "box", storage={"spare": "1", "data": "1"})
    model = elsewhere.controller._model("m")
    with model.store.write():
        model.store.execute("UPDATE storage SET location = '/srv/other' WHERE name = 'data'")
    elsewhere.deploy("hoarder", "crate", to=["0"])
    context = HookContext(model, model.unit("crate/0"), None)
    context.state = {"key": "value"}
    context.new_storage = {"spare": 1}
    with pytest.raises(CommitError, match=r'adding "spare" storage to crate/0: .* "/srv/spare" of spare/'):
        transaction.commit(context)
    assert model.unit("crate/0")["state"] == "{}"


def test_the_model_goes_on_while_a_booting_machine_is_waited_for_to_unmount_storage(
    elsewhere: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.deploy("hoarder", "box")
    elsewhere.deploy("provider", "db", to=["0"])
    booting = True
    unmounted: list[tuple[str, str]] = []

    def unbind(name: str, target: str) -> None:
        nonlocal booting
        if booting:
            assert answers(elsewhere)
            booting = False
        unmounted.append((name, target))

    monkeypatch.setattr(elsewhere.machines, "unbind", unbind)
    elsewhere.controller.remove_unit("m", "box/0", force=True)
    assert list(elsewhere.units()) == ["db/0"]
    assert set(unmounted) == {("m-0", "/srv/data"), ("m-0", "/srv/logs/logs/1")}
    assert {one["status"]["current"] for one in storage(elsewhere).values()} == {"detached"}


def succeed(world: World) -> None:
    """End a storage-detaching hook of box/0 well."""
    model = world.controller._model("m")
    transaction.commit(HookContext(model, model.unit("box/0"), DETACHING))


def fail(world: World, attempts: int = 1) -> None:
    """Note that a storage-detaching hook of box/0 has failed so many times."""
    store, failed = world.controller._model("m").store, Operation(DETACHING, "failed", attempts, 9e9)
    with store.write():
        store.execute("UPDATE unit SET op = ? WHERE name = 'box/0'", failed.to_json())


def give_up(world: World) -> None:
    """Have an operator skip a storage-detaching hook of box/0 that failed."""
    fail(world)
    world.controller.resolved("m", "box/0", no_retry=True)


def detach_untold(world: World) -> None:
    """Let box/0 lose storage that it was never told of."""
    store = world.controller._model("m").store
    with store.write():
        store.execute("UPDATE storage SET life = 'detaching' WHERE id = 'data/0'")
    UnitAgent(world.controller._model("m"), "box/0")._detach_untold()


def remove_by_force(world: World) -> None:
    world.controller.remove_unit("m", "box/0", force=True)


def remove_application_by_force(world: World) -> None:
    world.controller.remove_application("m", "box", force=True)


def remove_machine_by_force(world: World) -> None:
    world.controller.remove_machine("m", "0", force=True)


@pytest.mark.parametrize(
    "command",
    [succeed, give_up, detach_untold, remove_by_force, remove_application_by_force, remove_machine_by_force],
)
def test_other_commands_go_on_while_a_booting_machine_is_waited_for_to_unmount_storage(
    elsewhere: World, monkeypatch: pytest.MonkeyPatch, command: Callable[[World], None]
) -> None:
    elsewhere.deploy("hoarder", "box")
    elsewhere.deploy("provider", "db")
    unmounted: list[str] = []

    def unbind(_name: str, target: str) -> None:
        assert answers(elsewhere, lambda: elsewhere.controller.set_config("m", "db", {"port": "7"}))
        unmounted.append(target)

    monkeypatch.setattr(elsewhere.machines, "unbind", unbind)
    command(elsewhere)
    assert "/srv/data" in unmounted
    assert storage(elsewhere)["data/0"]["status"]["current"] == "detached"


def test_storage_is_unmounted_again_if_its_hook_was_tried_again_while_that_is_skipped(
    elsewhere: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try has the storage mounted."""
    elsewhere.deploy("hoarder", "box")
    unmounted: list[str] = []

    def unbind(_name: str, target: str) -> None:
        unmounted.append(target)
        if len(unmounted) == 1:
            fail(elsewhere, attempts=2)

    monkeypatch.setattr(elsewhere.machines, "unbind", unbind)
    give_up(elsewhere)
    assert unmounted == ["/srv/data", "/srv/data"]
    assert storage(elsewhere)["data/0"]["status"]["current"] == "detached"


def test_a_hook_that_detaches_storage_has_it_at_each_of_its_tries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a try may have been refused after the storage was unmounted."""
    mounted: set[str] = set()
    monkeypatch.setattr(world.machines, "bind", lambda _name, bind: mounted.add(Path(bind.target).name))
    monkeypatch.setattr(world.machines, "unbind", lambda _name, target: mounted.discard(Path(target).name))
    # It is read-only, so that these machines, too, have to mount it.
    world.deploy("hoarder", "box", storage={"cache": "1"})
    world.settle()
    (cache,) = (one for one in storage(world) if one.startswith("cache/"))
    number = cache.partition("/")[2]
    seen: list[bool] = []
    check = refusals.check

    def refuse_once(context: HookContext) -> None:
        if context.event is not None and context.event.storage_id == cache:
            seen.append(number in mounted)
            if len(seen) == 1:
                raise CommitError("not yet")
        check(context)

    dispatch = UnitAgent._dispatch
    began: list[bool] = []

    def look(self: UnitAgent, context: HookContext, machine: str) -> object:
        if context.event is not None and context.event.storage_id == cache:
            began.append(number in mounted)
        return dispatch(self, context, machine)

    monkeypatch.setattr(refusals, "check", refuse_once)
    monkeypatch.setattr(UnitAgent, "_dispatch", look)
    world.controller.detach_storage("m", [cache])
    world.until(lambda: storage(world)[cache]["status"]["current"] == "detached", f"{cache} being detached")
    assert began == [True, True]
    assert seen == [False, False]
    assert not mounted


def test_the_model_goes_on_while_large_storage_is_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deploy("hoarder", "box")
    world.settle()
    world.controller.remove_unit("m", "box/0")
    world.until(lambda: not world.units(), "box/0 being gone")
    folder = world.directory / "state/models/m/storage/data/0"
    removed: list[Path] = []
    rmtree = shutil.rmtree

    def remove(path: Path, ignore_errors: bool = False) -> None:
        if path == folder:
            assert answers(world)
            removed.append(path)
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(stores.shutil, "rmtree", remove)
    world.controller.remove_storage("m", ["data/0"])
    assert removed == [folder]
    assert not folder.exists()


def answers(world: World, ask: Callable[[], object] | None = None) -> bool:
    """Tell whether another thread is answered now: what it asks for, or else the model's status."""
    asking = threading.Thread(target=ask or world.status)
    asking.start()
    asking.join(5)
    return not asking.is_alive()
