"""``zeppelin``: a charm registers a notebook with Zeppelin."""

from typing import Any

from pydantic import Field

from iot_charm.interfaces.databag import Databag


class Notebook(Databag):
    """Published by the requirer's application (by its leader)."""

    name: str = Field(min_length=1, max_length=200)
    note: dict[str, Any]
    """The note as Zeppelin exports it: ``name``, ``paragraphs`` with ``title``, ``text``, ``config``."""
