"""What is accepted when it is asked for and refused when the hook or the action ends."""

from collections.abc import Callable, Mapping

from ops import hookcmds

from state import Place

_NOBODY_S = "secret:9m4e2mr0ui3e8a215n4g"


def _private(place: Place) -> str:
    return hookcmds.relation_get(place.relation, key="private", unit=place.remote_app, app=True)


ASKED: Mapping[str, Callable[[Place], object]] = {
    "storage-unknown": lambda _: hookcmds.storage_add({"attic": 1}),
    "storage-too-much": lambda _: hookcmds.storage_add({"data": 9}),
    "port-of-no-endpoint": lambda _: hookcmds.open_port("tcp", 81, endpoints="attic"),
    "secret-missing": lambda _: hookcmds.secret_set(_NOBODY_S, content={"word": "mine"}),
    "secret-of-another": lambda place: hookcmds.secret_set(_private(place), content={"word": "mine"}),
    "secret-removed-by-another": lambda place: hookcmds.secret_remove(_private(place)),
    "secret-revoked-by-another": lambda place: hookcmds.secret_revoke(_private(place), relation_id=None, app=place.app),
    "secret-label-taken": lambda _: hookcmds.secret_add({"word": "one"}, owner="unit", label="kept"),
}
