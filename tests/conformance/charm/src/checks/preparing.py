"""What has to be there before the checks run: databags, and secrets that the other application may and may not read."""

import ops
from ops import hookcmds

from state import Place


def prepare(charm: ops.CharmBase, place: Place) -> None:
    """Write the unit's databags and, as a leader, its application's with the ids of three secrets."""
    hookcmds.relation_set({"who": place.unit, "odd": "a=b\nc: <&>"}, place.relation)
    hookcmds.relation_set({"who": place.unit}, place.ring)
    if not charm.unit.is_leader():
        return
    granted = hookcmds.secret_add({"word": "granted"}, label="granted")
    hookcmds.secret_grant(granted, place.relation)
    personal = hookcmds.secret_add({"word": "personal"}, label="personal")
    hookcmds.secret_grant(personal, place.relation, unit=place.remote_unit)
    private = hookcmds.secret_add({"word": "private"}, label="private")
    hookcmds.secret_add({"word": "kept"}, label="kept", owner="unit")
    ids = {"granted": granted, "personal": personal, "private": private}
    hookcmds.relation_set({"who": place.app, **ids}, place.relation, app=True)
    hookcmds.relation_set({"who": place.app}, place.ring, app=True)
