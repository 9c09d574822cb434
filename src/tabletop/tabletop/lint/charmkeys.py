"""The keys that charmcraft 3 and later know in a charmcraft.yaml of a charm (its reference: charmcraft.yaml file)."""

from collections.abc import Mapping

TOP = (
    *("type", "name", "title", "summary", "description", "base", "build-base", "bases", "platforms", "assumes"),
    *("parts", "charm-libs", "links", "config", "actions", "provides", "requires", "peers", "resources", "storage"),
    *("devices", "containers", "extra-bindings", "subordinate", "charm-user", "terms", "analysis", "charmhub"),
    "adopt-info",
)
OPTION = ("type", "default", "description")
ENDPOINT = ("interface", "limit", "optional", "scope", "description", "schema")
ACTION = ("description", "params", "required", "additionalProperties", "parallel", "execution-group")
RESOURCE = ("type", "filename", "description", "upstream-source")
STORAGE = ("type", "description", "location", "multiple", "shared", "read-only", "minimum-size", "properties")
LINKS = ("contact", "documentation", "issues", "source", "website")

BELOW: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("config", "options"): OPTION,
    ("provides",): ENDPOINT,
    ("requires",): ENDPOINT,
    ("peers",): ENDPOINT,
    ("actions",): ACTION,
    ("resources",): RESOURCE,
    ("storage",): STORAGE,
}
"""For a mapping of things by their names: the keys that each may have."""
