"""The nodes that an operator added: kept by the application, so that every unit, a new one too, serves them.

A node's entry is a value of an application's secret, a page, since some hold keys in clear; a page has at most
PAGE_NODES of them, far below the size that Juju allows a secret. The peer relation names the pages. Only the leader
writes; the other units learn it by relation-changed, because every change counts on ``revision``.
"""

import logging
from collections.abc import Mapping

import ops
import zmq
from pydantic import Field

from iot_charm.errors import IotCharmError
from iot_charm.interfaces.databag import Databag
from iot_gateway.errors import ConfigError
from iot_gateway.nodes import Node, file

logger = logging.getLogger(__name__)

PEERS = "peers"
PAGE_NODES = 100
CURVE_KEY = "secret-key"
LABEL = "nodes-"
"""Begins the label of a page."""


class RegistryError(IotCharmError):
    """The registry can't be changed, or read; the text says what to do."""


class _Index(Databag):
    """Published by the application to its own units."""

    revision: int = 0
    pages: list[str] = Field(default_factory=list)
    """Identifiers of the secrets."""
    key: str = ""
    """Identifier of the secret with the gateway's own CURVE key; empty until one is needed."""
    suspended: list[str] = Field(default_factory=list)
    """Nodes of related units that are not let in."""


class Registry:
    """The nodes that an operator added, and the related ones that he disabled."""

    def __init__(self, charm: ops.CharmBase):
        self._charm = charm
        self._index: _Index | None = None
        self._curve_key = ""
        """Made in this hook; the secret shows it only after it."""
        self._pages: dict[str, dict[str, str]] = {}
        """Identifier of a secret -> its content."""
        self._found: dict[str, Node] = {}
        self._places: dict[str, tuple[str, str]] = {}
        """Of each node its page and the key there."""

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by name.

        Raises:
            RegistryError: a page can't be read.
        """
        self._load()
        return self._found

    @property
    def suspended(self) -> frozenset[str]:
        """The names of related nodes that are disabled."""
        return frozenset(self._load().suspended)

    @property
    def curve_key(self) -> str:
        """The secret half of the CURVE key (Z85) that all units show to ZeroMQ nodes; empty until it is made.

        Raises:
            RegistryError: it can't be read.
        """
        identifier = self._load().key
        if not identifier or self._curve_key:
            return self._curve_key
        return self._content(identifier)[CURVE_KEY]

    def make_curve_key(self) -> None:
        """Make the CURVE key, where there is none.

        Raises:
            RegistryError: this unit may not, or can't now.
        """
        if self._load().key:
            return
        self._must_write()
        self._curve_key = zmq.curve_keypair()[1].decode()
        secret = self._charm.app.add_secret(
            {CURVE_KEY: self._curve_key}, label="curve-key", description="The gateway's own key for ZeroMQ nodes"
        )
        self._publish(key=secret.get_info().id)

    def put(self, node: Node) -> None:
        """Add a node, or replace the one of its name.

        Raises:
            RegistryError: this unit may not, or can't now.
        """
        self._must_write()
        entry = file.text([node])
        page, key = self._places.get(node.name) or self._with_room()
        if page:
            self._write(page, {**self._pages[page], key: entry})
        else:
            page = self._add_page({key: entry})
        self._places[node.name] = page, key
        self._found[node.name] = node

    def remove(self, name: str) -> None:
        """Remove a node.

        Raises:
            RegistryError: this unit may not, or can't now.
        """
        self._must_write()
        if name not in self._places:
            return
        page, key = self._places.pop(name)
        del self._found[name]
        left = {each: entry for each, entry in self._pages[page].items() if each != key}
        if left:
            self._write(page, left)
        else:
            self._remove_page(page)

    def suspend(self, name: str, *, suspended: bool) -> None:
        """Disable a related node, or enable it again.

        Raises:
            RegistryError: this unit may not, or can't now.
        """
        self._must_write()
        names = self.suspended | {name} if suspended else self.suspended - {name}
        self._publish(suspended=sorted(names))

    # Reading

    def _peers(self) -> ops.Relation | None:
        return self._charm.model.get_relation(PEERS)

    def _load(self) -> _Index:
        if self._index is not None:
            return self._index
        peers = self._peers()
        index = (_Index.read(peers, self._charm.app) if peers else None) or _Index()
        for identifier in index.pages:
            content = self._content(identifier)
            self._pages[identifier] = content
            for key, entry in content.items():
                nodes = _parsed(entry, f"{identifier}/{key}")
                self._found.update(nodes)
                self._places.update(dict.fromkeys(nodes, (identifier, key)))
        self._index = index
        return index

    def _content(self, identifier: str) -> dict[str, str]:
        try:
            return dict(self._charm.model.get_secret(id=identifier).get_content(refresh=True))
        except (ops.SecretNotFoundError, ops.ModelError) as error:
            raise RegistryError(f"the nodes that were added can't be read, secret {identifier}: {error}") from error

    # Writing

    def _must_write(self) -> None:
        self._load()
        if not self._charm.unit.is_leader():
            raise RegistryError(
                f"{self._charm.unit.name} is not the leader, which alone changes what all units share: "
                f"juju run {self._charm.app.name}/leader ..."
            )
        if self._peers() is None:
            raise RegistryError("the relation of the units to each other is not there yet: try again in a minute")

    def _with_room(self) -> tuple[str, str]:
        for page, content in self._pages.items():
            for number in range(PAGE_NODES):
                if (key := f"node-{number}") not in content:
                    return page, key
        return "", "node-0"

    def _add_page(self, content: dict[str, str]) -> str:
        secret = self._charm.app.add_secret(
            content, label=f"{LABEL}{self._load().revision + 1}", description="Nodes that were added by an operator"
        )
        # Not `secret.id`: a secret that was just added knows itself in another notation than one found again.
        identifier = secret.get_info().id
        self._pages[identifier] = content
        self._publish(pages=[*self._load().pages, identifier])
        return identifier

    def _write(self, page: str, content: dict[str, str]) -> None:
        self._charm.model.get_secret(id=page).set_content(content)
        self._pages[page] = content
        self._publish()

    def _remove_page(self, page: str) -> None:
        self._charm.model.get_secret(id=page).remove_all_revisions()
        del self._pages[page]
        self._publish(pages=[each for each in self._load().pages if each != page])

    def _publish(
        self, pages: list[str] | None = None, suspended: list[str] | None = None, key: str | None = None
    ) -> None:
        former, peers = self._load(), self._peers()
        assert peers is not None  # noqa: S101 - for the type checker: _must_write saw it
        self._index = _Index(
            revision=former.revision + 1,
            pages=former.pages if pages is None else pages,
            key=former.key if key is None else key,
            suspended=former.suspended if suspended is None else suspended,
        )
        self._index.publish(peers, self._charm.app)


def _parsed(entry: str, where: str) -> dict[str, Node]:
    try:
        return file.parse(entry, where)
    except ConfigError as error:
        raise RegistryError(f"the nodes that were added can't be read: {error}") from error
