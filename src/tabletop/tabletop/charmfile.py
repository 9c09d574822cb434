"""What a charm says about itself: the metadata of a packed `.charm` or of a charm's folder."""

import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tabletop.charmplatforms import architectures_of_manifest, architectures_of_platforms
from tabletop.charmreader import Reader, part, whole
from tabletop.charmtypes import OPTION_TYPES, Action, CharmError, Endpoint, Option, OptionValue, Resource, Role, Storage
from tabletop.elf import HEADER_BYTES, architecture_of
from tabletop.yamlfile import YamlError, YamlFile

__all__ = [
    "OPTION_TYPES",
    "Action",
    "CharmError",
    "CharmFile",
    "Endpoint",
    "Option",
    "OptionValue",
    "Resource",
    "Role",
    "Storage",
]

_MANIFEST = "manifest.yaml"
_METADATA_FILES = ("metadata.yaml", "config.yaml", "actions.yaml")


@dataclass(frozen=True, slots=True)
class CharmFile:
    """The metadata of one charm and the place it was read from."""

    path: Path
    name: str
    summary: str = ""
    description: str = ""
    provides: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    requires: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    peers: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    config: Mapping[str, Option] = field(default_factory=dict[str, Option])
    actions: Mapping[str, Action] = field(default_factory=dict[str, Action])
    resources: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    storage: Mapping[str, Storage] = field(default_factory=dict[str, Storage])
    payloads: Mapping[str, str] = field(default_factory=dict[str, str])
    """The type of each."""
    extra_bindings: tuple[str, ...] = ()
    subordinate: bool = False
    version: str = ""
    base: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    architectures: tuple[str, ...] = ()
    """Those it was packed for, or can be packed for; none: it doesn't say."""

    @classmethod
    def open(cls, path: Path) -> "CharmFile":
        """Read the metadata of a packed charm (a zip) or of a charm's folder.

        A folder has a unified `charmcraft.yaml`, or `metadata.yaml` with `config.yaml` and `actions.yaml`; a packed
        charm has the latter.

        Raises:
            CharmError: it isn't a charm, or a file in it is malformed; the text names the file, its line and the key.
        """
        try:
            if path.is_dir():
                return _from_folder(path)
            return _from_zip(path)
        except YamlError as error:
            raise CharmError(str(error)) from error

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Every endpoint, with the `juju-info` that each charm provides without saying so."""
        implicit = {"juju-info": Endpoint("juju-info", "juju-info", "provider")}
        return {**implicit, **self.provides, **self.requires, **self.peers}

    def is_implicit(self, endpoint: str) -> bool:
        """Whether an endpoint is one that each charm has without saying so, and this one doesn't say so either."""
        return endpoint not in {**self.provides, **self.requires, **self.peers}

    def runs_on(self, architecture: str) -> bool:
        """Whether machines of an architecture can run the charm.

        A packed charm without machine code runs on all, whatever it was packed for.
        """
        if not self.architectures or architecture in self.architectures or "all" in self.architectures:
            return True
        if self.path.is_dir():
            return False
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                with archive.open(info) as file:
                    if architecture_of(file.read(HEADER_BYTES)) is not None:
                        return False
        return True

    def extract(self, dest: Path) -> None:
        """Lay the charm's files out in a folder, which is made and must be empty, with their modes.

        Raises:
            CharmError: the archive is damaged, or a path in it leads out of the folder.
        """
        dest.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            shutil.copytree(self.path, dest, symlinks=True, dirs_exist_ok=True)
            return
        try:
            with zipfile.ZipFile(self.path) as archive:
                for info in archive.infolist():
                    _extract_member(archive, info, dest)
        except (zipfile.BadZipFile, OSError) as error:
            raise CharmError(f"{self.path}: can't be unpacked: {error}") from error


def _extract_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, dest: Path) -> None:
    relative = PurePosixPath(info.filename)
    target = dest / relative
    # By itself, or by a link that came before it.
    if relative.is_absolute() or ".." in relative.parts or not target.resolve().is_relative_to(dest.resolve()):
        raise CharmError(f"{archive.filename}: path {info.filename!r} leads out of the charm")
    mode = info.external_attr >> 16
    if info.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(mode):
        target.symlink_to(archive.read(info).decode())
        return
    with archive.open(info) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    target.chmod(stat.S_IMODE(mode) or 0o644)


def _from_folder(path: Path) -> CharmFile:
    unified = path / "charmcraft.yaml"
    if unified.is_file():
        top = YamlFile.load(unified)
        if top.data.get("type", "charm") != "charm":
            raise CharmError(f"{top.where('type')}: type is {top.data['type']!r}; only a charm can be deployed")
        if "name" in top.data or not (path / "metadata.yaml").is_file():
            fields = Reader(whole(top), part(top, "config"), part(top, "actions")).fields()
            return CharmFile(path=path, architectures=architectures_of_platforms(top.data.get("platforms")), **fields)
    if not (path / "metadata.yaml").is_file():
        raise CharmError(f"{path}: isn't a charm: it has no charmcraft.yaml and no metadata.yaml")
    metadata, config, actions = (
        whole(YamlFile.load(path / name) if (path / name).is_file() else YamlFile(str(path / name), {}, {}))
        for name in _METADATA_FILES
    )
    return CharmFile(path=path, **Reader(metadata, config, actions).fields())


def _from_zip(path: Path) -> CharmFile:
    if not path.exists():
        raise CharmError(f"{path}: no such charm")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "metadata.yaml" not in names:
                raise CharmError(f"{path}: isn't a charm: it has no metadata.yaml")
            metadata, config, actions = (
                whole(YamlFile.parse(archive.read(name).decode() if name in names else "", f"{path}:{name}"))
                for name in _METADATA_FILES
            )
            version = archive.read("version").decode().strip() if "version" in names else ""
            manifest = YamlFile.parse(
                archive.read(_MANIFEST).decode() if _MANIFEST in names else "", f"{path}:{_MANIFEST}"
            )
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError) as error:
        raise CharmError(f"{path}: isn't a packed charm (a zip): {error}") from error
    return CharmFile(
        path=path,
        version=version,
        architectures=architectures_of_manifest(manifest.data.get("bases")),
        **Reader(metadata, config, actions).fields(),
    )
