"""Files that came with the charm as its resources."""

from pathlib import Path

import ops

from iot_charm.errors import DistributionError


def fetch(charm: ops.CharmBase, name: str) -> Path:
    """Return the path of resource ``name``.

    Raises:
        DistributionError: the resource was not given; the text says what to do.
    """
    try:
        return charm.model.resources.fetch(name)
    except (ops.ModelError, NameError) as error:
        raise DistributionError(
            f"resource {name} is missing; attach it: juju attach-resource {charm.app.name} {name}=FILE"
        ) from error
