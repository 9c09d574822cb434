"""A Zeppelin note: built from readable sources, and read as Zeppelin exports it."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, cast

from iot_lake.errors import MalformedNoteError

TUTORIAL = "tutorial"
"""Name of the folder with the tutorial's sources."""

COUNT_LABEL = "readings, each counted once"
"""Label of the row with the count in the tutorial's last table."""

INTERPRETERS = {".md": "%md", ".py": "%python"}


@dataclass(frozen=True, slots=True)
class Output:
    """One piece of what a paragraph showed."""

    kind: str
    """TEXT, HTML, TABLE or another of Zeppelin's display types."""
    data: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, with what its last run left."""

    title: str
    text: str
    status: str
    """READY, PENDING, RUNNING, FINISHED, ERROR or ABORT."""
    started: datetime | None
    finished: datetime | None
    outputs: tuple[Output, ...]
    shows_code: bool = True
    forms: tuple[tuple[str, str], ...] = ()
    """Names and values of the form above the outputs."""

    @property
    def seconds(self) -> float | None:
        """How long the last run took."""
        if self.started is None or self.finished is None or self.finished < self.started:
            return None
        return (self.finished - self.started).total_seconds()

    @property
    def interpreter(self) -> str:
        """The interpreter's name, without the percent sign."""
        first = self.text.lstrip().split(maxsplit=1)
        return first[0].removeprefix("%") if first and first[0].startswith("%") else ""

    @property
    def code(self) -> str:
        """The text without the interpreter's name."""
        return self.text.lstrip().removeprefix(f"%{self.interpreter}").strip("\n") if self.interpreter else self.text


@dataclass(frozen=True, slots=True)
class Note:
    """A note."""

    name: str
    paragraphs: tuple[Paragraph, ...]

    def digest(self) -> str:
        """Return a digest of titles and texts: what a person edits, not what a run leaves."""
        content = [[paragraph.title, paragraph.text.strip()] for paragraph in self.paragraphs]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def count(self) -> int | None:
        """Return the count of distinct readings that the note's last table shows, or None if it shows none."""
        for paragraph in reversed(self.paragraphs):
            for output in paragraph.outputs:
                for line in output.data.splitlines() if output.kind == "TABLE" else ():
                    label, _, value = line.partition("\t")
                    if label == COUNT_LABEL and value.strip().isdecimal():
                        return int(value)
        return None


def build(folder: str = TUTORIAL) -> dict[str, Any]:
    """Build a note, fit for Zeppelin's import, from a folder of ``iot_lake/notebooks``.

    Raises:
        MalformedNoteError: there is no such folder, or it is malformed.
    """
    source = files("iot_lake") / "notebooks" / folder
    try:
        content = tomllib.loads((source / "note.toml").read_text(encoding="utf-8"))
        paragraphs: list[dict[str, Any]] = []
        for paragraph in cast("list[dict[str, str]]", content["paragraphs"]):
            name = paragraph["file"]
            interpreter = INTERPRETERS[f".{name.rpartition('.')[2]}"]
            text = (source / name).read_text(encoding="utf-8")
            paragraphs.append(
                _source(paragraph["title"], f"{interpreter}\n{text.strip()}", is_text=interpreter == "%md")
            )
        return {"name": content["name"], "config": {}, "paragraphs": paragraphs}
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise MalformedNoteError(f"notebooks/{folder}: {error!r}") from error


def _source(title: str, text: str, *, is_text: bool) -> dict[str, Any]:
    config: dict[str, Any] = {"title": True, "editorHide": is_text, "enabled": True, "colWidth": 12}
    return {"title": title, "text": text, "config": config, "settings": {"params": {}, "forms": {}}}


def parse(exported: Mapping[str, Any]) -> Note:
    """Read a note as Zeppelin exports it.

    Raises:
        MalformedNoteError: it is not one.
    """
    try:
        name, paragraphs = exported["name"], exported["paragraphs"]
    except (KeyError, TypeError) as error:
        raise MalformedNoteError(f"not a note: no {error}") from error
    if not isinstance(name, str) or not isinstance(paragraphs, list):
        raise MalformedNoteError("not a note: name must be a text, paragraphs a list")
    return Note(name, tuple(_paragraph(paragraph) for paragraph in cast("list[Any]", paragraphs)))


def _paragraph(content: Any) -> Paragraph:
    if not isinstance(content, dict):
        raise MalformedNoteError("not a note: a paragraph must be an object")
    fields = cast("dict[str, Any]", content)
    results: dict[str, Any] = fields.get("results") or {}
    messages: Sequence[dict[str, Any]] = results.get("msg") or ()
    config: dict[str, Any] = fields.get("config") or {}
    return Paragraph(
        title=str(fields.get("title") or ""),
        text=str(fields.get("text") or ""),
        status=str(fields.get("status") or "READY"),
        started=_time(fields.get("dateStarted")),
        finished=_time(fields.get("dateFinished")),
        outputs=tuple(
            Output(str(message.get("type") or "TEXT"), str(message.get("data") or "")) for message in messages
        ),
        shows_code=not config.get("editorHide"),
        forms=_forms(fields.get("settings") or {}),
    )


def _forms(settings: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    forms: dict[str, dict[str, Any]] = settings.get("forms") or {}
    values: dict[str, Any] = settings.get("params") or {}
    return tuple((name, str(values.get(name, form.get("defaultValue", "")))) for name, form in forms.items())


def _time(value: Any) -> datetime | None:
    """Read a time as an exported note has it; the server runs in UTC."""
    try:
        return datetime.strptime(str(value), "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
