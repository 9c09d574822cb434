"""A typed view of one side of a relation."""

import json
from collections.abc import Iterator
from typing import Any, Self, TypeVar

import ops
from pydantic import BaseModel, ConfigDict, ValidationError

from iot_charm.errors import InvalidDatabagError


class Databag(BaseModel):
    """What one side of a relation publishes; values are JSON in the databag, as ``ops.Relation.save`` writes them.

    A subclass is an interface's promise: its fields are the keys of the databag (or their aliases).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @classmethod
    def read(cls, relation: ops.Relation, source: ops.Unit | ops.Application) -> Self | None:
        """Read what ``source`` published on ``relation``.

        Returns:
            The model, or None while ``source`` has not published all that the interface requires.

        Raises:
            InvalidDatabagError: a value is there that the interface does not allow.
        """
        published = relation.data[source]
        required = {field.alias or name for name, field in cls.model_fields.items() if field.is_required()}
        if any(key not in published for key in required) or not any(
            (field.alias or name) in published for name, field in cls.model_fields.items()
        ):
            return None
        try:
            return relation.load(cls, source, decoder=cls._decode)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidDatabagError(
                f"{source.name} published {field}={first['input']!r} on {relation.name}: {first['msg']}"
            ) from error
        except ValueError as error:
            raise InvalidDatabagError(
                f"{source.name} published a malformed value on {relation.name}: {error}"
            ) from error

    def publish(self, relation: ops.Relation, destination: ops.Unit | ops.Application) -> None:
        """Publish the model on ``relation`` as ``destination``, the charm's own unit or application.

        A key whose value did not change is left as it is, so that publishing again wakes nobody.
        """
        relation.save(self, destination, encoder=self._encode)

    @staticmethod
    def _decode(value: str) -> Any:
        return json.loads(value)

    @staticmethod
    def _encode(value: Any) -> str:
        return json.dumps(value, sort_keys=True)


class PlainDatabag(Databag):
    """A databag of plain strings, as charms older than JSON databags write and expect them."""

    @staticmethod
    def _decode(value: str) -> Any:
        return value

    @staticmethod
    def _encode(value: Any) -> str:
        return str(value)


Published = TypeVar("Published", bound=Databag)


def each_unit(
    charm: ops.CharmBase, endpoint: str, model: type[Published]
) -> Iterator[tuple[ops.Relation, ops.Unit, Published]]:
    """Iterate over the remote units on an endpoint that published a complete ``model``, in a stable order."""
    for relation in sorted(charm.model.relations[endpoint], key=lambda relation: relation.id):
        for unit in sorted(relation.units, key=lambda unit: (unit.app.name, int(unit.name.rpartition("/")[2]))):
            published = model.read(relation, unit)
            if published is not None:
                yield relation, unit, published


def first_unit(charm: ops.CharmBase, endpoint: str, model: type[Published]) -> Published | None:
    """Return what the first remote unit on an endpoint published, or None while none has."""
    return next((published for _, _, published in each_unit(charm, endpoint, model)), None)


def is_related(charm: ops.CharmBase, endpoint: str) -> bool:
    """Tell whether an endpoint has a relation that is not just being broken; one that is still has its data."""
    return any(relation.active for relation in charm.model.relations[endpoint])


def bind_address(charm: ops.CharmBase, endpoint: str) -> str:
    """Return the address at which this unit is to listen for those related over an endpoint.

    Raises:
        ops.ModelError: the unit has no address on the network that the endpoint is bound to.
    """
    binding = charm.model.get_binding(endpoint)
    address = binding.network.bind_address if binding else None
    if address is None:
        raise ops.ModelError(f"no address for endpoint {endpoint}")
    return str(address)


def own_address(charm: ops.CharmBase, relation: ops.Relation) -> str:
    """Return the address at which this unit is reached by the other side of ``relation``.

    Raises:
        ops.ModelError: the unit has no address on the network that the endpoint is bound to.
    """
    binding = charm.model.get_binding(relation)
    address = binding.network.ingress_address if binding else None
    if address is None:
        raise ops.ModelError(f"no address for endpoint {relation.name}")
    return str(address)
