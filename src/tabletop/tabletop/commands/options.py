"""Arguments that several verbs share, and the reading of their values."""

import argparse
import contextlib
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from tabletop.commands import UsageError
from tabletop.engine.durations import parse_duration
from tabletop.errors import TabletopError
from tabletop.format import note
from tabletop.yamlfile import YamlFile

CONTAINERS = ("lxd", "kvm", "lxc")
"""Kinds of containers that Juju makes on a machine."""


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare -m/--model."""
    parser.add_argument("-m", "--model", help="the model to act on (default: $JUJU_MODEL, else the current one)")


def add_format(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Declare --format with the given forms; the first is the default."""
    parser.add_argument("--format", choices=forms, default=forms[0], help=f"form of the output (default {forms[0]})")


def add_ignored(parser: argparse.ArgumentParser, options: Mapping[str, str | None], *, why: str) -> None:
    """Declare options of Juju that have no effect here, with a notice when one is given.

    Args:
        parser: the parser of the verb.
        options: option to the name of its value, None for a flag.
        why: what the notice says after the option.
    """

    class Ignore(argparse.Action):
        def __call__(self, *_: object, **__: object) -> None:
            note(f"NOTICE {'/'.join(self.option_strings)} has no effect: {why}")

    for option, value in options.items():
        extra: dict[str, Any] = {"nargs": 0} if value is None else {"metavar": value}
        parser.add_argument(option, action=Ignore, help=f"no effect: {why}", **extra)


def duration(text: str) -> float:
    """Read a span of time such as 90s, 1m30s or 0.5h, in seconds; a bare number is seconds."""
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        return parse_duration(text)
    except TabletopError:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a duration such as 90s or 1m30s") from None


def pair(text: str) -> tuple[str, str]:
    """Read `key=value`.

    Raises:
        UsageError: it isn't that.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"expected key=value, got {text!r}")
    return key, value


def constraints(texts: Iterable[str]) -> dict[str, str]:
    """Read constraints, `key=value` words in one or several arguments."""
    return dict(pair(word) for text in texts for word in text.split())


def storage_directives(texts: Iterable[str]) -> dict[str, str]:
    """Read storage directives, `name` or `name=count,size`."""
    return dict(pair(text if "=" in text else f"{text}=1") for text in texts)


def listed(texts: Iterable[str]) -> list[str]:
    """Read lists with commas into one; empty words are left out."""
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def placements(texts: Iterable[str]) -> list[str]:
    """Read --to, a list with commas.

    `lxd:0` asks Juju for a container on a machine, with a file system and an address of its own; what is nearest to
    that here is a new machine, which the daemon makes of it.
    """
    found = listed(texts)
    for place in found:
        if place.partition(":")[0] in CONTAINERS:
            note(f"NOTICE placement {place}: machines are containers already, so the unit gets a machine of its own")
    return found


def read_yaml(source: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top is a mapping; `-` is standard input.

    Raises:
        YamlError: it can't be read or isn't that.
    """
    if str(source) == "-":
        return YamlFile.parse(sys.stdin.read(), "standard input").data
    return YamlFile.load(Path(source)).data


def app_settings(texts: Iterable[str], app: str) -> dict[str, Any]:
    """Read --config arguments: `key=value` (`key=@file` for a file's text), or the path of a YAML file.

    A file holds the options of one application, or of several under their names.

    Raises:
        UsageError: an argument is neither.
        YamlError: a file can't be read.
    """
    values: dict[str, Any] = {}
    for text in texts:
        if "=" not in text:
            values.update(file_settings(Path(text), app))
            continue
        key, value = pair(text)
        if value.startswith("@"):
            path = Path(value[1:])
            try:
                value = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{key}: can't read {path}: {error}") from error
        values[key] = value
    return values


def file_settings(path: str | Path, app: str) -> dict[str, Any]:
    """Read a YAML file of options, of one application or of several under their names."""
    data = read_yaml(path)
    own = data.get(app)
    return dict(cast("dict[str, Any]", own)) if isinstance(own, dict) else data


def resources(texts: Iterable[str]) -> dict[str, str]:
    """Read --resource arguments, `name=path`, into absolute paths.

    Raises:
        UsageError: a file isn't there.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, value = pair(text)
        path = Path(value).absolute()
        if not path.is_file():
            raise UsageError(f"resource {name!r}: no such file: {value}")
        found[name] = str(path)
    return found
