"""Notes: brought in, run, and rendered as pages."""

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from iot_charm.files import ensure_file
from iot_lake import note, page
from iot_lake.errors import MalformedNoteError
from server import Server, ZeppelinError
from zeppelin import DATA, PAGES, USER

logger = logging.getLogger(__name__)

BROUGHT = DATA / "brought.json"
"""Name of a note that this charm brought in -> digest of what it brought."""


@dataclasses.dataclass(frozen=True)
class ParagraphRun:
    """How one paragraph's run ended."""

    title: str
    status: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a note's run ended."""

    paragraphs: tuple[ParagraphRun, ...]
    count: int | None
    """Of distinct readings, where the note shows one."""
    html: Path
    problem: str
    """Empty if every paragraph ended FINISHED."""


def bring(connection: Server, notes: Iterable[dict[str, Any]]) -> list[str]:
    """Bring notes in; a note that is as it was brought follows its source, one that a person edited is left alone.

    A note that a person deleted does not come back until its source changes.

    Args:
        connection: to the server.
        notes: as Zeppelin exports them; each with a name of its own.

    Returns:
        The names of those that were imported.

    Raises:
        ZeppelinError: the server refused, or a note is none.
    """
    brought = _brought()
    present = connection.notes()
    imported: list[str] = []
    for source in notes:
        wanted = _parse(source)
        identifier = present.get(wanted.name)
        last = brought.get(wanted.name)
        if wanted.digest() == last:
            continue
        if identifier is not None:
            found = _parse(connection.export(identifier)).digest()
            if found == wanted.digest():
                brought[wanted.name] = found
                continue
            if found != last:
                logger.warning("notebook %r was edited here, and is not replaced by its new version", wanted.name)
                continue
            connection.delete(identifier)
        connection.import_note(source)
        brought[wanted.name] = wanted.digest()
        imported.append(wanted.name)
        logger.info("imported notebook %r", wanted.name)
    ensure_file(BROUGHT, json.dumps(brought, indent=1, sort_keys=True) + "\n")
    return imported


def run(
    connection: Server, name: str, forms: dict[str, str], *, timeout_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Run a note's paragraphs in their order, up to the first that does not end FINISHED.

    Args:
        connection: to the server.
        name: of the note.
        forms: values of the paragraphs' dynamic forms.
        timeout_s: for each paragraph.
        progress: is told before and after each paragraph.

    Raises:
        ZeppelinError: there is no such note, or the server does not answer.
    """
    identifier = find(connection, name)
    paragraphs = connection.paragraphs(identifier)
    # A process that is there already has another run's variables and Spark session.
    connection.restart_interpreter("python")
    ended: list[ParagraphRun] = []
    problem = ""
    for number, paragraph in enumerate(paragraphs, start=1):
        title = str(paragraph.get("title") or f"paragraph {number}")
        progress(f"{number}/{len(paragraphs)} {title}")
        try:
            result = connection.run(identifier, paragraph["id"], forms, timeout_s=timeout_s)
        except ZeppelinError as error:
            problem = f"paragraph {number} ({title}): {error}"
            break
        ended.append(ParagraphRun(title, result.status, result.seconds))
        progress(f"{number}/{len(paragraphs)} {title}: {result.status}, {result.seconds:.1f} s")
        if result.status != "FINISHED":
            problem = f"paragraph {number} ({title}) ended {result.status}"
            break
    executed, html = render(connection, name)
    # What it left running would hold memory, here and on the cluster.
    connection.restart_interpreter("python")
    if problem and len(executed.paragraphs) > len(ended):
        problem += _why(executed.paragraphs[len(ended) - (1 if ended and ended[-1].status != "FINISHED" else 0)])
    return Outcome(tuple(ended), None if problem else executed.count(), html, problem)


def render(connection: Server, name: str) -> tuple[note.Note, Path]:
    """Write a note, with what its last run left, as an HTML page.

    Returns:
        The note, and the page's path.

    Raises:
        ZeppelinError: there is no such note, or the server does not answer.
    """
    exported = _parse(connection.export(find(connection, name)))
    # An exported note's name is without its folders.
    executed = dataclasses.replace(exported, name=name)
    path = PAGES / f"{_file_name(name)}.html"
    ensure_file(path, page.render(executed, rendered=datetime.now(UTC)), mode=0o640, group=USER)
    ensure_file(PAGES / "index.html", _index(), mode=0o640, group=USER)
    return executed, path


def find(connection: Server, name: str) -> str:
    """Return the identifier of the note of this name.

    Raises:
        ZeppelinError: there is none.
    """
    present = connection.notes()
    if name not in present:
        raise ZeppelinError(f"no notebook {name!r}; there are: {', '.join(sorted(present)) or 'none'}")
    return present[name]


def smoke_test(connection: Server) -> str:
    """Run a markdown and a Python paragraph and check what they show.

    Returns:
        The version of Python that notebooks run on.

    Raises:
        ZeppelinError: something is not as it must be.
    """
    text = "%python\nimport pyspark, sys\nprint(6 * 7, sys.version.split()[0], pyspark.__version__)"
    source = {
        "name": f"smoke-test-{datetime.now(UTC):%Y%m%d%H%M%S%f}",
        "paragraphs": [{"title": "md", "text": "%md\n**bold**"}, {"title": "python", "text": text}],
    }
    identifier = connection.import_note(source)
    try:
        for paragraph in connection.paragraphs(identifier):
            result = connection.run(identifier, paragraph["id"], {}, timeout_s=120)
            if result.status != "FINISHED":
                executed = _parse(connection.export(identifier))
                why = next((_why(each) for each in executed.paragraphs if each.status == result.status), "")
                raise ZeppelinError(f"paragraph {paragraph['title']} ended {result.status}{why}")
        outputs = ["".join(output.data for output in each.outputs) for each in _exported(connection, identifier)]
    finally:
        connection.delete(identifier)
    if "<strong>bold</strong>" not in outputs[0] or not outputs[1].startswith("42 "):
        raise ZeppelinError(f"the paragraphs ran, but showed {outputs!r}")
    _, python, pyspark = outputs[1].split()
    return f"Python {python}, PySpark {pyspark}"


def _parse(exported: dict[str, Any]) -> note.Note:
    try:
        return note.parse(exported)
    except MalformedNoteError as error:
        raise ZeppelinError(str(error)) from error


def _exported(connection: Server, identifier: str) -> tuple[note.Paragraph, ...]:
    return _parse(connection.export(identifier)).paragraphs


def _why(paragraph: note.Paragraph) -> str:
    lines = [line for output in paragraph.outputs for line in output.data.splitlines() if line.strip()]
    return f": {lines[-1].strip()[:300]}" if lines else ""


def _brought() -> dict[str, str]:
    try:
        return json.loads(BROUGHT.read_text())
    except FileNotFoundError:
        return {}


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "notebook"


def _index() -> str:
    pages = sorted(path for path in PAGES.glob("*.html") if path.name != "index.html")
    items = "".join(f'<li><a href="{escape(path.name)}">{escape(path.stem)}</a></li>' for path in pages)
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Notebooks</title><ul>{items}</ul></html>\n'
