"""A unified charmcraft.yaml, taken apart into the files that Juju reads in a packed charm."""

from typing import Any

from tabletop.charmfile import CharmFile
from tabletop.format import to_yaml
from tabletop.yamlfile import YamlFile

_METADATA_KEYS = (
    "name",
    "summary",
    "description",
    "assumes",
    "subordinate",
    "provides",
    "requires",
    "peers",
    "resources",
    "storage",
    "extra-bindings",
    "devices",
    "terms",
)
_LINKS = {
    "contact": "maintainers",
    "documentation": "docs",
    "issues": "issues",
    "source": "source",
    "website": "website",
}


def metadata_files(charm: CharmFile, architecture: str) -> dict[str, str]:
    """Return metadata.yaml, config.yaml, actions.yaml and manifest.yaml of a charm's folder.

    config.yaml and actions.yaml are left out where the charm has none, as charmcraft does.
    """
    unified = YamlFile.load(charm.path / "charmcraft.yaml").data
    metadata: dict[str, Any] = {key: unified[key] for key in _METADATA_KEYS if unified.get(key) is not None}
    if "title" in unified:
        metadata["display-name"] = unified["title"]
    links: dict[str, Any] = unified.get("links") or {}
    for key, name in _LINKS.items():
        if key in links:
            value = links[key]
            metadata[name] = [value] if name == "maintainers" and not isinstance(value, list) else value
    files = {"metadata.yaml": to_yaml(metadata) + "\n", "manifest.yaml": to_yaml(_manifest(charm, architecture)) + "\n"}
    for name, key in (("config.yaml", "config"), ("actions.yaml", "actions")):
        if unified.get(key):
            files[name] = to_yaml(unified[key]) + "\n"
    return files


def _manifest(charm: CharmFile, architecture: str) -> dict[str, Any]:
    name, _, channel = charm.base.partition("@")
    base = {"name": name or "ubuntu", "channel": channel or "24.04", "architectures": [architecture]}
    return {"bases": [base], "analysis": {"attributes": [{"name": "language", "result": "python"}]}}
