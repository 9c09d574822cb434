"""Relations: making and ending them, the units that are in them, and their databags."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tabletop.charmfile import CharmFile, Endpoint
from tabletop.engine import subordinates
from tabletop.engine.model import Model, NotFoundError
from tabletop.errors import TabletopError


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a relation: an application and one of its endpoints."""

    application: str
    endpoint: Endpoint

    def __str__(self) -> str:
        """Write it as Juju does."""
        return f"{self.application}:{self.endpoint.name}"


def integrate(model: Model, a: str, b: str) -> int:
    """Relate two applications, each given as `<app>` or `<app>:<endpoint>`; return the relation's id.

    Raises:
        TabletopError: no pair of endpoints fits, several do, or the relation is there already.
    """
    with model.store.write():
        one, two = _infer(model, a, b)
        for side in (one, two):
            if model.application(side.application)["life"] != "alive":
                raise TabletopError(f'application "{side.application}" is being removed')
        key = " ".join(sorted((str(one), str(two)), key=lambda text: (text != str(_requirer(one, two)), text)))
        if _existing(model, one, two) is not None:
            raise TabletopError(f'cannot add relation "{key}": relation {key} already exists')
        for side in (one, two):
            _check_limit(model, side, key)
        relation_id = model.store.next_number("next_relation")
        scope = "container" if "container" in (one.endpoint.scope, two.endpoint.scope) else "global"
        if scope == "container" and not any(model.charm_of(side.application).subordinate for side in (one, two)):
            raise TabletopError(
                f'cannot add relation "{key}": container scope needs at least one subordinate application'
            )
        _insert(model, relation_id, one.endpoint.interface, scope, (one, two))
    return relation_id


def create_peers(model: Model, application: str, charm: CharmFile) -> None:
    """Make the peer relations of an application that hasn't got them yet; inside `write`."""
    for endpoint in charm.peers.values():
        there = model.store.value(
            "SELECT count(*) FROM endpoint WHERE application = ? AND name = ?", application, endpoint.name
        )
        if not there:
            relation_id = model.store.next_number("next_relation")
            _insert(model, relation_id, endpoint.interface, "global", (Side(application, endpoint),))


def remove_relation(model: Model, a: str, b: str) -> None:
    """Start to end the relation between two applications.

    Raises:
        TabletopError: there is no such relation, or several fit.
    """
    with model.store.write():
        (app_a, end_a), (app_b, end_b) = _split(a), _split(b)
        for name in (app_a, app_b):
            model.application(name)
        rows = model.store.all(
            "SELECT one.relation FROM endpoint AS one JOIN endpoint AS two ON two.relation = one.relation"
            " WHERE one.application = ? AND two.application = ? AND (? = '' OR one.name = ?)"
            " AND (? = '' OR two.name = ?) AND one.role != 'peer'",
            app_a,
            app_b,
            end_a,
            end_a,
            end_b,
            end_b,
        )
        if not rows or app_a == app_b:
            raise NotFoundError(f'relation "{a} {b}" not found')
        if len(rows) > 1:
            raise TabletopError(f'ambiguous relation: "{a} {b}" fits {len(rows)} relations; name their endpoints')
        end_relation(model, rows[0]["relation"])


def end_relation(model: Model, relation_id: int) -> None:
    """Mark a relation as ending; it goes when the last unit has left it. Inside `write`."""
    model.store.execute("UPDATE relation SET life = 'dying', since = ? WHERE id = ?", time.time(), relation_id)
    subordinates.end_orphans(model, relation_id)
    forget_if_empty(model, relation_id)


def forget_if_empty(model: Model, relation_id: int) -> None:
    """Remove an ending relation that no unit is in any more, with its databags and grants; inside `write`."""
    gone = model.store.execute(
        "DELETE FROM relation WHERE id = ? AND life = 'dying'"
        " AND NOT EXISTS (SELECT 1 FROM scope WHERE scope.relation = relation.id)",
        relation_id,
    )
    if gone:
        forget_applications(model)


def forget_applications(model: Model) -> None:
    """Remove the applications that are going and have no units and no relations any more; inside `write`."""
    store = model.store
    rows = store.all(
        "SELECT name FROM application WHERE life = 'dying'"
        " AND NOT EXISTS (SELECT 1 FROM unit WHERE unit.application = application.name)"
        " AND NOT EXISTS (SELECT 1 FROM endpoint WHERE endpoint.application = application.name AND role != 'peer')"
    )
    for row in rows:
        store.execute(
            "DELETE FROM relation WHERE id IN (SELECT relation FROM endpoint WHERE application = ?)", row["name"]
        )
        store.execute("DELETE FROM secret WHERE owner_kind = 'application' AND owner = ?", row["name"])
        store.execute("DELETE FROM secret_grant WHERE subject = ?", row["name"])
        store.execute("DELETE FROM application WHERE name = ?", row["name"])


def enter_scopes(model: Model, unit: str, address: str) -> None:
    """Let a unit into all living relations of its application; inside `write`."""
    rows = model.store.all(
        "SELECT relation.id FROM relation JOIN endpoint ON endpoint.relation = relation.id"
        " WHERE endpoint.application = ? AND relation.life = 'alive'"
        " AND NOT EXISTS (SELECT 1 FROM scope WHERE scope.relation = relation.id AND scope.unit = ?)",
        unit.partition("/")[0],
        unit,
    )
    me = model.unit(unit)
    for row in rows:
        if not subordinates.is_in(model, me, row["id"]):
            continue
        model.store.execute("INSERT INTO scope (relation, unit) VALUES (?, ?)", row["id"], unit)
        settings = {"egress-subnets": f"{address}/32", "ingress-address": address, "private-address": address}
        write_databag(model, row["id"], unit, settings)


def leave_scope(model: Model, relation_id: int, unit: str) -> None:
    """Let a unit out of a relation; inside `write`."""
    model.store.execute("DELETE FROM scope WHERE relation = ? AND unit = ?", relation_id, unit)
    model.store.execute("DELETE FROM secret_grant WHERE relation = ? AND subject = ?", relation_id, unit)
    forget_if_empty(model, relation_id)


def read_databag(model: Model, relation_id: int, entity: str) -> dict[str, str] | None:
    """Return the committed databag of a unit or an application, or None if it never had one."""
    text = model.store.value("SELECT data FROM databag WHERE relation = ? AND entity = ?", relation_id, entity)
    return None if text is None else json.loads(text)


def databag_version(model: Model, relation_id: int, entity: str) -> int:
    """Return the version of a databag, 0 if there is none."""
    found: int | None = model.store.value(
        "SELECT version FROM databag WHERE relation = ? AND entity = ?", relation_id, entity
    )
    return found or 0


def write_databag(model: Model, relation_id: int, entity: str, data: Mapping[str, str]) -> int:
    """Commit a databag and return its version, which grows only if something changed; inside `write`."""
    row = model.store.one("SELECT version, data FROM databag WHERE relation = ? AND entity = ?", relation_id, entity)
    text = json.dumps(dict(data), sort_keys=True)
    version = 0 if row is None else row["version"]
    if row is not None and row["data"] == text:
        return version
    model.store.execute(
        "INSERT INTO databag (relation, entity, version, data) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET version = excluded.version, data = excluded.data",
        relation_id,
        entity,
        version + 1,
        text,
    )
    return version + 1


def key_of(model: Model, relation_id: int) -> str:
    """Return a relation's name as Juju writes it: `requirer:endpoint provider:endpoint`."""
    rows = model.store.all("SELECT * FROM endpoint WHERE relation = ? ORDER BY role DESC, application", relation_id)
    return " ".join(f"{row['application']}:{row['name']}" for row in rows)


def _insert(model: Model, relation_id: int, interface: str, scope: str, sides: tuple[Side, ...]) -> None:
    model.store.execute(
        "INSERT INTO relation (id, interface, scope, since) VALUES (?, ?, ?, ?)",
        relation_id,
        interface,
        scope,
        time.time(),
    )
    for side in sides:
        model.store.execute(
            "INSERT INTO endpoint (relation, application, name, role) VALUES (?, ?, ?, ?)",
            relation_id,
            side.application,
            side.endpoint.name,
            side.endpoint.role,
        )


def _split(text: str) -> tuple[str, str]:
    application, _, endpoint = text.partition(":")
    return application, endpoint


def _requirer(one: Side, two: Side) -> Side:
    return one if one.endpoint.role == "requirer" else two


def _candidates(model: Model, text: str) -> list[Side]:
    application, wanted = _split(text)
    endpoints = model.charm_of(application).endpoints
    if wanted and wanted not in endpoints:
        raise TabletopError(f'application "{application}" has no "{wanted}" relation')
    chosen = [endpoints[wanted]] if wanted else list(endpoints.values())
    return [Side(application, endpoint) for endpoint in chosen if endpoint.role != "peer"]


def _infer(model: Model, a: str, b: str) -> tuple[Side, Side]:
    ones, twos = _candidates(model, a), _candidates(model, b)
    if ones and twos and ones[0].application == twos[0].application:
        raise TabletopError(f'cannot relate application "{ones[0].application}" to itself')
    pairs = [
        (one, two)
        for one in ones
        for two in twos
        if one.endpoint.interface == two.endpoint.interface
        and {one.endpoint.role, two.endpoint.role} == {"provider", "requirer"}
    ]
    explicit = [pair for pair in pairs if not all(side.endpoint.name == "juju-info" for side in pair)]
    without_implicit = [pair for pair in explicit if "juju-info" not in (pair[0].endpoint.name, pair[1].endpoint.name)]
    pairs = without_implicit or explicit
    if not pairs:
        raise NotFoundError(f"no relations found{_why(ones, twos)}")
    if len(pairs) > 1:
        options = "; ".join(f'"{one} {two}"' for one, two in pairs)
        raise TabletopError(f'ambiguous relation: "{a} {b}" could refer to {options}')
    return pairs[0]


def _why(ones: list[Side], twos: list[Side]) -> str:
    if len(ones) == 1 and len(twos) == 1:
        one, two = ones[0], twos[0]
        if one.endpoint.interface != two.endpoint.interface:
            return f': {one} speaks "{one.endpoint.interface}", {two} speaks "{two.endpoint.interface}"'
        return f": {one} and {two} are both the {one.endpoint.role}"
    return ""


def _existing(model: Model, one: Side, two: Side) -> int | None:
    return model.store.value(
        "SELECT one.relation FROM endpoint AS one JOIN endpoint AS two ON two.relation = one.relation"
        " WHERE one.application = ? AND one.name = ? AND two.application = ? AND two.name = ?",
        one.application,
        one.endpoint.name,
        two.application,
        two.endpoint.name,
    )


def _check_limit(model: Model, side: Side, key: str) -> None:
    limit = side.endpoint.limit
    count: int = model.store.value(
        "SELECT count(*) FROM endpoint WHERE application = ? AND name = ?", side.application, side.endpoint.name
    )
    if limit is not None and count >= limit:
        raise TabletopError(
            f'cannot add relation "{key}": establishing a new relation for {side}'
            f" would exceed its maximum relation limit of {limit}"
        )
