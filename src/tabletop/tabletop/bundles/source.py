"""A bundle's files: the bundle, the overlays that follow in it or are given beside it, merged into one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tabletop.bundles.problems import Problems
from tabletop.yamlfile import KeyPath, YamlError, YamlFile, as_list, as_mapping, kind_of, read_text

_TOP_KEYS = (
    *("name", "title", "summary", "description", "bundle", "type", "tags", "website", "issues", "source", "docs"),
    *("applications", "services", "machines", "relations", "series", "default-base", "assumes", "annotations"),
    *("variables",),
)
_MAPPINGS = ("options", "resources", "annotations", "bindings", "storage")
_APP_KEYS = (
    *("charm", "num_units", "to", "constraints", "trust", "channel", "revision", "base", "series", "expose"),
    *_MAPPINGS,
)
_REFUSED = {
    "saas": "relations between models aren't there",
    "offers": "relations between models aren't there",
    "scale": "it is for Kubernetes models; say num_units",
    "placement": "it is for Kubernetes models; say to",
    "plan": "metering isn't there",
    "devices": "devices can't be given to machines",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a bundle, and where it stands."""

    value: Any
    where: str
    folder: Path
    """The folder of the file it stands in; paths are relative to it."""


@dataclass(slots=True)
class RawApplication:
    """What the files say of an application, unchecked."""

    where: str
    keys: dict[str, Value] = field(default_factory=dict[str, Value])
    options: dict[str, Value] = field(default_factory=dict[str, Value])
    resources: dict[str, Value] = field(default_factory=dict[str, Value])
    storage: dict[str, Value] = field(default_factory=dict[str, Value])
    bindings: dict[str, Value] = field(default_factory=dict[str, Value])


@dataclass(slots=True)
class RawBundle:
    """What the files say together, unchecked."""

    name: str
    applications: dict[str, RawApplication] = field(default_factory=dict[str, RawApplication])
    machines: dict[str, Value] = field(default_factory=dict[str, Value])
    relations: list[Value] = field(default_factory=list[Value])


def find_bundle(path: Path) -> Path | None:
    """Return the bundle file that a path means: itself, or the bundle.yaml of a folder; None if it is no bundle."""
    if path.is_dir():
        return path / "bundle.yaml" if (path / "bundle.yaml").is_file() else None
    return path if path.suffix in (".yaml", ".yml") else None


def read(path: Path, overlays: Sequence[Path], problems: Problems) -> RawBundle:
    """Read a bundle and its overlays.

    Raises:
        YamlError: the bundle itself can't be read.
    """
    first, *rest = YamlFile.parse_all(read_text(path), str(path)) or [YamlFile(str(path), {}, {})]
    bundle = RawBundle(str(first.data.get("name") or path.parent.name))
    merge = _Merge(bundle, problems)
    merge.document(first, path.parent, overlay=False)
    for document in rest:
        merge.document(document, path.parent, overlay=True)
    for overlay in overlays:
        try:
            documents = YamlFile.parse_all(read_text(overlay), str(overlay))
        except YamlError as error:
            problems.add("", str(error))
            continue
        for document in documents:
            merge.document(document, overlay.parent, overlay=True)
    return bundle


class _Merge:
    """Lays one document over what the earlier ones said, as Juju does."""

    def __init__(self, bundle: RawBundle, problems: Problems) -> None:
        self._bundle = bundle
        self._problems = problems

    def document(self, file: YamlFile, folder: Path, *, overlay: bool) -> None:
        for key in file.data:
            self._check_key(file, (key,), _TOP_KEYS)
        if file.data.get("bundle") == "kubernetes":
            self._problems.add(file.where("bundle"), "it is for Kubernetes models; machines are what is here")
        section = "services" if "services" in file.data else "applications"
        applications = self._mapping(file, (section,))
        if not overlay and not applications:
            self._problems.add(file.where(section), "the bundle has no applications")
        for name, body in applications.items():
            self._application(file, folder, section, str(name), body)
        for number, body in self._mapping(file, ("machines",)).items():
            self._bundle.machines[str(number)] = Value(body, file.where("machines", str(number)), folder)
        for index, relation in enumerate(self._list(file, ("relations",))):
            self._bundle.relations.append(Value(relation, file.where("relations", index), folder))

    def _application(self, file: YamlFile, folder: Path, section: str, name: str, body: object) -> None:
        path: KeyPath = (section, name)
        if body is None and name in self._bundle.applications:
            del self._bundle.applications[name]
            self._bundle.relations = [value for value in self._bundle.relations if not _mentions(value.value, name)]
            return
        app = self._bundle.applications.setdefault(name, RawApplication(file.where(*path)))
        kept = {
            "options": app.options,
            "resources": app.resources,
            "storage": app.storage,
            "bindings": app.bindings,
        }
        for key, value in self._mapping(file, path).items():
            if not self._check_key(file, (*path, key), _APP_KEYS):
                continue
            if key not in _MAPPINGS:
                app.keys[key] = Value(value, file.where(*path, key), folder)
                continue
            target = kept.get(key, {})
            for inner, item in self._mapping(file, (*path, key)).items():
                target[str(inner)] = Value(item, file.where(*path, key, str(inner)), folder)

    def _check_key(self, file: YamlFile, path: KeyPath, known: Iterable[str]) -> bool:
        key = str(path[-1])
        if key in _REFUSED:
            self._problems.add(file.where(*path), f"{key} can't be had: {_REFUSED[key]}")
        elif key not in known:
            self._problems.add(file.where(*path), f"unknown key {key!r}")
        return key in known

    def _mapping(self, file: YamlFile, path: KeyPath) -> dict[str, Any]:
        value = _at(file.data, path)
        if value is not None and not isinstance(value, dict):
            self._problems.add(file.where(*path), f"{path[-1]} must be a mapping, not {kind_of(value)}")
        return as_mapping(_at(file.data, path))

    def _list(self, file: YamlFile, path: KeyPath) -> list[Any]:
        value = _at(file.data, path)
        if value is not None and not isinstance(value, list):
            self._problems.add(file.where(*path), f"{path[-1]} must be a list, not {kind_of(value)}")
        return as_list(_at(file.data, path))


def _at(data: object, path: KeyPath) -> object:
    for key in path:
        data = as_mapping(data).get(str(key))
    return data


def _mentions(relation: object, name: str) -> bool:
    if isinstance(relation, str):
        return relation.partition(":")[0] == name
    return isinstance(relation, list) and any(_mentions(end, name) for end in as_list(cast("object", relation)))
