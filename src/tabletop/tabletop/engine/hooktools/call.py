"""One call of a hook tool: its arguments, the files that they name, and its output."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools import formats
from tabletop.engine.hooktools.options import Options
from tabletop.engine.lifecycle import RemoteRelation

RELATION: Mapping[str, str] = {"r": "relation", "relation": "relation"}
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool was called with: options by their long names, the other arguments, and the files they name."""

    context: HookContext
    options: Mapping[str, str]
    arguments: Sequence[str]
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    spelled: Mapping[str, str] = field(default_factory=dict[str, str])
    form: str = "smart"

    def flag(self, name: str) -> bool:
        """Return a boolean option, false unless given."""
        return self.options.get(name) == "true"

    def argument(self, index: int) -> str | None:
        """Return an argument by its place, or None."""
        return self.arguments[index] if index < len(self.arguments) else None

    def required(self, index: int, complaint: str) -> str:
        """Return an argument by its place.

        Raises:
            ToolError: it isn't there; the text is the complaint.
        """
        value = self.argument(index)
        if value is None:
            raise ToolError(complaint, 2)
        return value

    def relation(self, complaint: str = "no relation id specified") -> tuple[int, RemoteRelation]:
        """Return the relation that an option names, or the hook's own.

        Raises:
            ToolError: there is no such relation, or none was named outside a relation's hook.
        """
        found = self.relation_if_any()
        if found is None:
            raise ToolError(complaint, 2)
        return found

    def relation_if_any(self) -> tuple[int, RemoteRelation] | None:
        """Return the relation that an option names, or the hook's own, or None.

        Raises:
            ToolError: there is no such relation.
        """
        reference = self.options.get("relation")
        if reference is None:
            return self.context.own_relation()
        try:
            return self.context.find_relation(reference)
        except ToolError as error:
            raise ToolError(f'invalid value "{reference}" for option {self.spelled["relation"]}: {error}', 2) from None

    def file(self, path: str) -> str:
        """Return the text of a file that an argument names."""
        try:
            return self.files[path].decode()
        except KeyError:
            raise ToolError(f"open {path}: no such file or directory") from None
        except UnicodeDecodeError:
            raise ToolError("yaml: invalid UTF-8") from None

    def pairs(self, arguments: Sequence[str]) -> dict[str, str]:
        """Return `key=value` arguments as a mapping."""
        found: dict[str, str] = {}
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if not equals or not key:
                raise ToolError(f'expected "key=value", got "{argument}"', 2)
            if key in found:
                raise ToolError(f'key "{key}" specified more than once', 2)
            found[key] = value
        return found

    def mapping_file(self) -> dict[str, str]:
        """Return the mapping of texts in the YAML or JSON file that `--file` names; empty without one."""
        path = self.options.get("file")
        return {} if path is None else _texts(self.file(path))

    def render(self, value: Any) -> str:
        """Return a value in the format that was asked for."""
        return formats.render(value, self.form)


@dataclass(frozen=True, slots=True)
class Tool:
    """A hook tool: what it does and the options it takes."""

    run: Callable[[Call], str]
    options: Options


def _texts(text: str) -> dict[str, str]:
    """Return a mapping of texts; a number or a boolean is taken as it is written."""
    try:
        # JSON is what ops sends, and C reads it 50 times as fast as PyYAML reads YAML.
        data = json.loads(text)
    except ValueError:
        data = None
    if isinstance(data, dict):
        mapping = cast("dict[str, Any]", data)
        if all(isinstance(value, str) for value in mapping.values()):
            return mapping
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ToolError(f"yaml: {where}{getattr(error, 'problem', None) or 'cannot be parsed'}") from None
    if node is None or node.tag == _NULL:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise _cannot_unmarshal(node, "map[string]string")
    found: dict[str, str] = {}
    for key, value in cast("list[tuple[Any, Any]]", node.value):
        if not isinstance(value, yaml.ScalarNode):
            raise _cannot_unmarshal(value, "string")
        found[str(key.value)] = "" if value.tag == _NULL else value.value
    return found


def _cannot_unmarshal(node: Any, wanted: str) -> ToolError:
    kind = node.tag.rpartition(":")[2]
    what = f"!!{kind}" if not isinstance(node, yaml.ScalarNode) else f"!!{kind} `{node.value}`"
    line = node.start_mark.line + 1
    return ToolError(f"yaml: unmarshal errors:\n  line {line}: cannot unmarshal {what} into {wanted}")
