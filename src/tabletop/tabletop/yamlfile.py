"""YAML files whose every key remembers the line it stands on, so that a mistake can be shown where it is."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml

from tabletop.errors import TabletopError

KeyPath = tuple[str | int, ...]
"""Where a value stands in a document: the keys and list indexes that lead to it."""


class YamlError(TabletopError):
    """A file isn't YAML, or isn't a mapping; the text names file and line."""


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice and notes the line of every value; keys are always text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines: dict[KeyPath, int] = {}

    def note_lines(self, node: yaml.Node, path: KeyPath) -> None:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            seen: set[Hashable] = set()
            for key_node, value_node in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
                key: Any = getattr(key_node, "value", None)
                if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                # Names stay what was written: `on` is no boolean, `0` no number.
                key_node.tag = "tag:yaml.org,2002:str"
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
                self.lines[(*path, key)] = key_node.start_mark.line + 1
                self.note_lines(value_node, (*path, key))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(cast("list[yaml.Node]", node.value)):
                self.note_lines(item, (*path, index))


class YamlFile:
    """One document: its value and the line of each of its keys."""

    def __init__(self, name: str, data: dict[str, Any], lines: dict[KeyPath, int]) -> None:
        self.name = name
        self.data = data
        self._lines = lines

    @classmethod
    def parse(cls, text: str, name: str) -> "YamlFile":
        """Parse one document whose top is a mapping; an empty document is an empty mapping.

        Raises:
            YamlError: the text isn't YAML, a key is given twice, or its top isn't a mapping.
        """
        documents = cls.parse_all(text, name)
        if len(documents) > 1:
            raise YamlError(f"{name}: holds {len(documents)} YAML documents; one was expected")
        return documents[0] if documents else cls(name, {}, {})

    @classmethod
    def parse_all(cls, text: str, name: str) -> "list[YamlFile]":
        """Parse every document of a multi-document text.

        Raises:
            YamlError: as for `parse`.
        """
        documents: list[YamlFile] = []
        loader: _Loader | None = None
        try:
            loader = _Loader(text)
            while loader.check_node():
                node = loader.get_node()
                if node is None:
                    continue
                loader.lines = {}
                loader.note_lines(node, ())
                data: Any = cast("Any", loader).construct_document(node)
                if data is None:
                    data = {}
                if not isinstance(data, dict):
                    raise YamlError(f"{name}:{node.start_mark.line + 1}: must be a mapping, not {kind_of(data)}")
                documents.append(cls(name, cast("dict[str, Any]", data), loader.lines))
        except yaml.YAMLError as error:
            raise YamlError(_describe(name, error)) from error
        finally:
            if loader is not None:
                loader.dispose()
        return documents

    @classmethod
    def load(cls, path: Path) -> "YamlFile":
        """Read and parse a file that holds one document.

        Raises:
            YamlError: the file can't be read or parsed.
        """
        return cls.parse(read_text(path), str(path))

    def where(self, *path: str | int) -> str:
        """Return `file:line` of the key at a path, or of the nearest key above it that is there."""
        for length in range(len(path), -1, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                return f"{self.name}:{line}"
        return self.name


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        YamlError: it isn't there, can't be read, or isn't UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: isn't UTF-8 text (byte {error.start})") from error


def as_list(value: object) -> list[Any]:
    """Return a list's items; of what isn't a list, none."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_mapping(value: object) -> dict[str, Any]:
    """Return a mapping; of what isn't one, an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def kind_of(value: object) -> str:
    """Name a YAML value's kind as its author would."""
    match value:
        case None:
            return "empty"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return type(value).__name__


def _describe(name: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        return f"{name}{line}: {error.problem or error.context}"
    return f"{name}: isn't YAML: {error}"
