"""Reads a charm's metadata, configuration and actions, and checks each key on the way."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tabletop.charmtypes import OPTION_TYPES, Action, CharmError, Endpoint, Option, Resource, Role, Storage
from tabletop.yamlfile import YamlFile, kind_of

_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9]))*\Z")
_ROLES: Mapping[str, Role] = {"provides": "provider", "requires": "requirer", "peers": "peer"}


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping inside a YAML file."""

    file: YamlFile
    path: tuple[str, ...]
    data: Mapping[str, Any]

    def fail(self, problem: str, *keys: str) -> CharmError:
        """Return the error that names the place of some keys."""
        name = ".".join((*self.path, *keys))
        return CharmError(f"{self.file.where(*self.path, *keys)}: {name}: {problem}")

    def get(self, kind: type, default: Any, *keys: str) -> Any:
        """Return the value under some keys, which must be of a kind if it is there."""
        value: Any = self.data
        for key in keys:
            value = cast("Mapping[str, Any]", value).get(key) if isinstance(value, Mapping) else None
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            names = {str: "a string", dict: "a mapping", int: "a number", bool: "true or false", list: "a list"}
            raise self.fail(f"must be {names[kind]}, not {kind_of(value)}", *keys)
        return value


def whole(file: YamlFile) -> Section:
    """Return a whole file as a section."""
    return Section(file, (), file.data)


def part(file: YamlFile, key: str) -> Section:
    """Return the mapping under a key of a file as a section."""
    return Section(file, (key,), whole(file).get(dict, {}, key))


class Reader:
    """Turns the three files' mappings into a charm's fields, checking each key as it goes."""

    def __init__(self, metadata: Section, config: Section, actions: Section) -> None:
        self._metadata = metadata
        self._config = config
        self._actions = actions

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `CharmFile` by name.

        Raises:
            CharmError: a key is missing or malformed.
        """
        meta = self._metadata
        name = meta.get(str, None, "name")
        if name is None:
            raise meta.fail("is missing", "name")
        if not _NAME.match(name):
            raise meta.fail(f"{name!r} must be lower-case letters, digits and single hyphens, a letter first", "name")
        ends = {kind: self._each(meta, kind, self._endpoint(role)) for kind, role in _ROLES.items()}
        self._no_duplicates(ends)
        return dict(
            name=name,
            summary=meta.get(str, "", "summary").strip(),
            description=meta.get(str, "", "description").strip(),
            **ends,
            config=self._each(self._config, "options", self._option),
            actions=self._all_actions(),
            resources=self._each(meta, "resources", self._resource),
            storage=self._each(meta, "storage", self._storage),
            payloads={
                str(name): meta.get(str, "", "payloads", name, "type") for name in meta.get(dict, {}, "payloads")
            },
            extra_bindings=tuple(meta.get(dict, {}, "extra-bindings")),
            subordinate=meta.get(bool, False, "subordinate"),
            base=str(meta.data.get("base") or ""),
            parts=meta.get(dict, {}, "parts"),
        )

    def _each(self, section: Section, kind: str, read: Callable[[Section, str, str], Any]) -> dict[str, Any]:
        return {str(name): read(section, kind, str(name)) for name in section.get(dict, {}, kind)}

    def _no_duplicates(self, ends: Mapping[str, Mapping[str, Endpoint]]) -> None:
        seen: dict[str, str] = {}
        for kind, endpoints in ends.items():
            for name in endpoints:
                if name in seen:
                    raise self._metadata.fail(f"the endpoint is already under {seen[name]}", kind, name)
                seen[name] = kind

    def _endpoint(self, role: Role) -> Callable[[Section, str, str], Endpoint]:
        def read(section: Section, kind: str, name: str) -> Endpoint:
            value = section.data[kind][name]
            if isinstance(value, str):
                return Endpoint(name, value, role)
            body = section.get(dict, {}, kind, name)
            interface = section.get(str, "", kind, name, "interface")
            if not interface:
                raise section.fail("has no interface", kind, name)
            scope = section.get(str, "global", kind, name, "scope")
            if scope not in ("global", "container"):
                raise section.fail(f"{scope!r} must be global or container", kind, name, "scope")
            limit = section.get(int, None, kind, name, "limit") if body.get("limit") is not None else None
            return Endpoint(name, interface, role, limit, section.get(bool, True, kind, name, "optional"), scope)

        return read

    def _option(self, section: Section, kind: str, name: str) -> Option:
        body = section.get(dict, {}, kind, name)
        type_name = section.get(str, None, kind, name, "type")
        if type_name not in OPTION_TYPES:
            problem = "is missing" if type_name is None else f"{type_name!r} isn't a type of option"
            raise section.fail(f"{problem} (types: {', '.join(OPTION_TYPES)})", kind, name, "type")
        option = Option(type_name, None, section.get(str, "", kind, name, "description").strip())
        default = body.get("default")
        if default is None:
            return option
        if isinstance(default, str) and type_name in ("int", "float", "boolean"):
            raise section.fail(f"expected {type_name}, got {default!r}", kind, name, "default")
        try:
            return Option(type_name, option.parse(default), option.description)
        except ValueError as error:
            raise section.fail(str(error), kind, name, "default") from error

    def _all_actions(self) -> dict[str, Action]:
        actions: dict[str, Action] = {}
        for name in self._actions.data:
            body = self._actions.get(dict, {}, name)
            params = self._actions.get(dict, {}, name, "params")
            required: list[Any] = self._actions.get(list, [], name, "required")
            for param in required:
                if param not in params:
                    raise self._actions.fail(f"{param!r} is required but isn't among its params", name, "required")
            actions[str(name)] = Action(
                self._actions.get(str, "", name, "description").strip(),
                {str(key): schema or {} for key, schema in params.items()},
                tuple(str(param) for param in required),
                bool(body.get("additionalProperties", True)),
            )
        return actions

    def _resource(self, section: Section, kind: str, name: str) -> Resource:
        type_name = section.get(str, "file", kind, name, "type")
        if type_name not in ("file", "oci-image"):
            raise section.fail(f"{type_name!r} must be file or oci-image", kind, name, "type")
        filename = section.get(str, "", kind, name, "filename")
        if type_name == "file" and not filename:
            raise section.fail("is missing", kind, name, "filename")
        return Resource(type_name, filename, section.get(str, "", kind, name, "description").strip())

    def _storage(self, section: Section, kind: str, name: str) -> Storage:
        type_name = section.get(str, "", kind, name, "type")
        if type_name not in ("filesystem", "block"):
            raise section.fail(f"{type_name!r} must be filesystem or block", kind, name, "type")
        body = section.get(dict, {}, kind, name)
        minimum, maximum = 1, cast("int | None", 1)
        if "multiple" in body:
            section.get(dict, {}, kind, name, "multiple")
            spread = str(section.data[kind][name]["multiple"].get("range", ""))
            match = re.fullmatch(r"(\d+)(?:(-)(\d+)?|(\+))?", spread)
            if not match:
                raise section.fail(f"{spread!r} must be like 1, 0-3, 0- or 0+", kind, name, "multiple", "range")
            minimum = int(match[1])
            maximum = int(match[3]) if match[3] else None if match[2] or match[4] else minimum
        return Storage(
            name,
            type_name,
            section.get(str, "", kind, name, "description").strip(),
            section.get(str, "", kind, name, "location"),
            minimum,
            maximum,
            section.get(bool, False, kind, name, "shared"),
            section.get(bool, False, kind, name, "read-only"),
            str(body.get("minimum-size") or ""),
        )
