"""The options of a hook tool, parsed as Juju's own flag parser does: GNU style, mixed with the other arguments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tabletop.engine.hooks import ToolError

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_OUTPUT = {"o": "output", "output": "output"}
SMART = ("smart", "yaml", "json")
YAML = ("yaml", "json")
"""The formats of a tool that prints, its default first."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a tool was called with: options by their long names, how each was spelled, and the other arguments."""

    values: Mapping[str, str]
    spelled: Mapping[str, str]
    rest: Sequence[str]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a tool: name to long name, for those with a value and for those without.

    `formats` are those of its output; `None`: it prints nothing, and takes a `--format` that does nothing
    if `silent_format`. `most` is how many other arguments it takes, `None` any number.
    """

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    booleans: Mapping[str, str] = field(default_factory=dict[str, str])
    formats: Sequence[str] | None = None
    silent_format: bool = False
    most: int | None = 0

    def parse(self, arguments: Sequence[str]) -> Parsed:
        """Split arguments into options and the rest; `--` ends the options.

        Raises:
            ToolError: an option is unknown, lacks its value or has a wrong one, or there are too many arguments.
        """
        values: dict[str, str] = {}
        spelled: dict[str, str] = {}
        rest: list[str] = []
        queue = list(arguments)
        known = self._with_value()
        while queue:
            argument = queue.pop(0)
            if argument == "--":
                rest += queue
                break
            if not argument.startswith("-") or argument == "-":
                rest.append(argument)
                continue
            name, given = _split(argument, queue, known)
            if name in self.booleans:
                long = self.booleans[name]
                values[long] = _boolean(name, given)
            elif name in known:
                if given is None:
                    if not queue:
                        raise ToolError(f"option needs an argument: {spell(name)}", 2)
                    given = queue.pop(0)
                long = known[name]
                values[long] = given
            else:
                raise ToolError(f"option provided but not defined: {spell(name)}", 2)
            spelled[long] = spell(name)
        self._check_format(values)
        if self.most is not None:
            no_more(rest[self.most :])
        return Parsed(values, spelled, rest)

    def _with_value(self) -> Mapping[str, str]:
        if self.formats:
            return {**self.values, "format": "format", **_OUTPUT}
        return {**self.values, "format": "format"} if self.silent_format else self.values

    def _check_format(self, values: Mapping[str, str]) -> None:
        wanted = values.get("format")
        if self.formats and wanted is not None and wanted not in self.formats:
            raise ToolError(f'invalid value "{wanted}" for option --format: unknown format "{wanted}"', 2)


def no_more(arguments: Sequence[str]) -> None:
    """Refuse arguments that a tool has no use for.

    Raises:
        ToolError: there are some.
    """
    if arguments:
        raise ToolError(f"unrecognized args: [{' '.join(json.dumps(one, ensure_ascii=False) for one in arguments)}]", 2)


def spell(name: str) -> str:
    """Return an option's name with its dashes."""
    return f"--{name}" if len(name) > 1 else f"-{name}"


def _split(argument: str, queue: list[str], known: Mapping[str, str]) -> tuple[str, str | None]:
    """Return an option's name and the value in the same argument; more one-letter options go back to the queue."""
    if argument.startswith("--"):
        name, equals, value = argument[2:].partition("=")
        return name, value if equals else None
    name, more = argument[1], argument[2:]
    if not more:
        return name, None
    if more.startswith("="):
        return name, more[1:]
    if name in known:
        return name, more
    queue.insert(0, f"-{more}")
    return name, None


def _boolean(name: str, given: str | None) -> str:
    if given is None or given in _TRUE:
        return "true"
    if given in _FALSE:
        return "false"
    quoted = json.dumps(given, ensure_ascii=False)
    raise ToolError(
        f"invalid boolean value {quoted} for option {spell(name)}: strconv.ParseBool: parsing {quoted}: invalid syntax",
        2,
    )
