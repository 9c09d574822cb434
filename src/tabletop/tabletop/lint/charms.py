"""Checks a charm by itself: its charmcraft.yaml, and what belongs beside it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabletop.charmfile import OPTION_TYPES, CharmError, CharmFile
from tabletop.lint import charmkeys
from tabletop.lint.findings import Findings
from tabletop.yamlfile import YamlError, YamlFile, as_list, as_mapping

_BESIDE = {"icon.svg": "Charmhub shows it", "README.md": "it says what the charm is for"}
_ACTION_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_JUJU = re.compile(r"juju (?:>=|<|==|>|<=) \d+(?:\.\d+)*")
_MAX_SUMMARY = 200


def lint_charm(path: Path, findings: Findings) -> None:
    """Check a charm's folder; of a packed charm, that its metadata can be read.

    Args:
        path: the folder, or the `.charm`.
        findings: takes what is found.
    """
    unified = path / "charmcraft.yaml"
    if unified.is_file():
        try:
            file = YamlFile.load(unified)
        except YamlError as error:
            findings.error_text(str(error))
            return
        _CharmcraftYaml(file, findings).check()
    try:
        CharmFile.open(path)
    except CharmError as error:
        # It stops at the first mistake; what was found already at that place says the same.
        findings.error_text(str(error))
    if path.is_dir():
        for name, why in _BESIDE.items():
            if not (path / name).is_file():
                findings.warning(str(path), f"has no {name}: {why}")


class _CharmcraftYaml:
    def __init__(self, file: YamlFile, findings: Findings) -> None:
        self._file = file
        self._data = file.data
        self._findings = findings

    def check(self) -> None:
        self._keys()
        self._about()
        self._assumes()
        self._options()
        self._endpoints()
        self._actions()
        for kind in ("resources", "storage"):
            for name, body in as_mapping(self._data.get(kind)).items():
                self._described(body, kind, name)

    def _error(self, text: str, *path: str | int) -> None:
        self._findings.error(self._file.where(*path), text)

    def _warning(self, text: str, *path: str | int) -> None:
        self._findings.warning(self._file.where(*path), text)

    def _keys(self) -> None:
        for key in self._data:
            if key not in charmkeys.TOP:
                self._error(f"unknown key {key!r}", key)
        for key in as_mapping(self._data.get("links")):
            if key not in charmkeys.LINKS:
                self._error(f"links: unknown key {key!r}", "links", key)
        for path, known in charmkeys.BELOW.items():
            for name, body in self._below(*path).items():
                for key in as_mapping(body):
                    if key not in known:
                        self._error(f"{'.'.join((*path, name))}: unknown key {key!r}", *path, name, key)

    def _below(self, *path: str) -> Mapping[str, Any]:
        data: Any = self._data
        for key in path:
            data = as_mapping(data).get(key)
        return as_mapping(data)

    def _about(self) -> None:
        for key in ("title", "summary", "description"):
            if not str(self._data.get(key) or "").strip():
                self._warning(f"has no {key}")
        if len(str(self._data.get("summary") or "")) > _MAX_SUMMARY:
            self._warning(f"summary: is longer than the {_MAX_SUMMARY} characters that Charmhub takes", "summary")
        if not any(key in self._data for key in ("base", "bases", "platforms")):
            self._error("says for no base what it is to be built for: base and platforms are missing")

    def _assumes(self) -> None:
        if "assumes" not in self._data:
            self._warning("has no assumes: say which Juju it needs, such as juju >= 3.6")
        for index, one in enumerate(as_list(self._data.get("assumes"))):
            self._assumption(one, "assumes", index)

    def _assumption(self, one: object, *path: str | int) -> None:
        choices = as_mapping(one)
        if choices:
            for key, inner in choices.items():
                if key not in ("any-of", "all-of"):
                    self._error(f"assumes: unknown key {key!r} (any-of, all-of)", *path, key)
                    continue
                for index, each in enumerate(as_list(inner)):
                    self._assumption(each, *path, key, index)
        elif not (isinstance(one, str) and (_JUJU.fullmatch(one) or one == "k8s-api")):
            self._error(f"assumes: {one!r} isn't a feature: expected juju >= 3.6, k8s-api, any-of or all-of", *path)

    def _options(self) -> None:
        for name, body in self._below("config", "options").items():
            path = ("config", "options", name)
            option = as_mapping(body)
            kind = option.get("type")
            if kind not in OPTION_TYPES:
                said = "has no type" if kind is None else f"{kind!r} isn't a type"
                self._error(f"option {name!r}: {said} ({', '.join(OPTION_TYPES)})", *path, "type")
            elif "default" not in option and kind != "secret":
                self._warning(f"option {name!r}: has no default, so it is unset until somebody sets it", *path)
            self._described(body, *path)

    def _endpoints(self) -> None:
        for kind in ("provides", "requires", "peers"):
            for name, body in as_mapping(self._data.get(kind)).items():
                if not isinstance(body, str) and not as_mapping(body).get("interface"):
                    self._error(f"{kind}.{name}: has no interface", kind, name)

    def _actions(self) -> None:
        for name, body in as_mapping(self._data.get("actions")).items():
            if not _ACTION_NAME.fullmatch(name) or name.startswith("juju-"):
                self._error(
                    f"action {name!r}: must be lower-case letters, digits and hyphens, and not of juju-",
                    "actions",
                    name,
                )
            self._described(body, "actions", name)
            for param, schema in as_mapping(as_mapping(body).get("params")).items():
                path = ("actions", name, "params", param)
                self._described(schema, *path)
                if "type" not in as_mapping(schema) and "enum" not in as_mapping(schema):
                    self._warning(f"parameter {param!r} of action {name!r}: has no type, so anything goes", *path)

    def _described(self, body: object, *path: str) -> None:
        if not str(as_mapping(body).get("description") or "").strip():
            self._warning(f"{'.'.join(path)}: has no description", *path)
