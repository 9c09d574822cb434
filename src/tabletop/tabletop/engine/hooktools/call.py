"""One call of a hook tool: its arguments as Go's flags are parsed, and its output in the formats Juju has."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from tabletop.engine.hooks import HookContext, ToolError


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool was called with: options by their long names, the other arguments, and the files they name."""

    context: HookContext
    options: Mapping[str, str]
    arguments: Sequence[str]
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def flag(self, name: str) -> bool:
        """Return a boolean option, false unless given."""
        text = self.options.get(name, "false")
        if text.lower() not in ("true", "false"):
            raise ToolError(f'invalid value "{text}" for option --{name}: expected true or false', 2)
        return text.lower() == "true"

    def argument(self, index: int) -> str | None:
        """Return an argument by its place, or None."""
        return self.arguments[index] if index < len(self.arguments) else None

    def required(self, index: int, what: str) -> str:
        """Return an argument by its place, which must be there."""
        value = self.argument(index)
        if value is None:
            raise ToolError(f"no {what} specified", 2)
        return value

    def file(self, path: str) -> str:
        """Return the text of a file that an argument names."""
        try:
            return self.files[path].decode()
        except KeyError:
            raise ToolError(f"cannot read {path}") from None
        except UnicodeDecodeError:
            raise ToolError(f"{path} is not UTF-8 text") from None

    def pairs(self, arguments: Sequence[str]) -> dict[str, str]:
        """Return `key=value` arguments as a mapping."""
        found: dict[str, str] = {}
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if not equals or not key:
                raise ToolError(f'expected "key=value", got "{argument}"', 2)
            found[key] = value
        return found

    def mapping_file(self) -> dict[str, str]:
        """Return the mapping of strings in the YAML or JSON file that `--file` names; empty without one."""
        path = self.options.get("file")
        if path is None:
            return {}
        text = self.file(path)
        data = _load(path, text)
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise ToolError(f"{path} must hold a mapping")
        found: dict[str, str] = {}
        for key, value in cast("dict[Any, Any]", data).items():
            if not isinstance(value, str | int | float | bool) and value is not None:
                raise ToolError(f"the value of {key} in {path} must be a string")
            found[str(key)] = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        return found

    def render(self, value: Any) -> str:
        """Return a value in the format that `--format` asks for; `smart` is the default."""
        match self.options.get("format", "smart"):
            case "json":
                return json.dumps(value) + "\n"
            case "yaml":
                return yaml.safe_dump(value, default_flow_style=False)
            case "smart":
                return _smart(value)
            case other:
                raise ToolError(f'invalid value "{other}" for option --format: unknown format "{other}"', 2)


def _load(path: str, text: str) -> Any:
    try:
        # JSON is what ops sends, and C reads it 50 times as fast as PyYAML reads YAML.
        return json.loads(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ToolError(f"cannot parse {path}: {type(error).__name__}") from None


def _smart(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return f"{value}\n" if value != "" else ""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in cast("list[Any]", value)):
        return "".join(f"{one}\n" for one in cast("list[str]", value))
    return yaml.safe_dump(value, default_flow_style=False)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a tool: name to long name, for those with a value and for those without."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    booleans: Mapping[str, str] = field(default_factory=dict[str, str])

    def parse(self, arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Split arguments into options and the rest; `--` ends the options.

        Raises:
            ToolError: an option is unknown or lacks its value.
        """
        options: dict[str, str] = {}
        rest: list[str] = []
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            if argument == "--":
                return options, rest + queue
            if not argument.startswith("-") or argument == "-":
                rest.append(argument)
                continue
            name, equals, value = argument.partition("=")
            bare = name.lstrip("-")
            if bare in self.booleans:
                options[self.booleans[bare]] = value if equals else "true"
            elif bare in self.values or bare == "format":
                if not equals:
                    if not queue:
                        raise ToolError(f"option needs an argument: {name}", 2)
                    value = queue.pop(0)
                options[self.values.get(bare, bare)] = value
            else:
                raise ToolError(f"option provided but not defined: {name}", 2)
        return options, rest


RELATION: Mapping[str, str] = {"r": "relation", "relation": "relation"}
