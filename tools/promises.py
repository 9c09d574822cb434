"""What the chain promises, checked on what its steps returned: shared by tests/model and tests/juju."""

import json
import re
from collections.abc import Iterable

from chain import APPLICATIONS, DONE, Command, Ingested, Notebook, Sent

_FILE = re.compile(
    r"-rw-r--r--\s+1 flume supergroup\s+\d+ \d{4}-\d\d-\d\d \d\d:\d\d "
    r"/user/flume/flume-rabbitmq/\d{4}-\d\d-\d\d/FlumeData\.\d+\.gz"
)


class BrokenPromiseError(AssertionError):
    """Something isn't as promised; the text says what was promised and what was found."""


def deployed(applications: Iterable[str]) -> None:
    """See that the model has the design's applications and no other."""
    _equal("applications", sorted(APPLICATIONS), sorted(applications))


def sent(run: Sent, readings: int) -> None:
    """See that the gateway acknowledged every reading."""
    _equal("readings acknowledged", readings, run.readings)


def nothing_lost(found: Ingested, readings: int) -> None:
    """See that every reading is in HDFS, some perhaps twice."""
    _equal("readings in HDFS and lost", (readings, 0), (found.in_hdfs, found.lost))


def exactly_once(found: Ingested, readings: int) -> None:
    """See that every reading is in HDFS, once, in files as Flume names them."""
    _equal(
        "readings sent, in HDFS, lost and duplicated",
        (readings, readings, 0, 0),
        (found.sent, found.in_hdfs, found.lost, found.duplicated),
    )
    files = [line for line in found.listing.splitlines() if "/FlumeData." in line]
    if not files:
        raise BrokenPromiseError(f"the listing names no file of Flume: {found.listing!r}")
    for line in files:
        if not _FILE.fullmatch(line):
            raise BrokenPromiseError(f"not as Flume's and Hadoop's own listings are: {line!r}")


def done(command: Command) -> None:
    """See that a command went through all its states to the end, and that the gateway has them in order."""
    _equal(f"states of command {command.id}", DONE, command.states)


def told(command: Command, lines: str) -> None:
    """See that HDFS has each of a command's states, perhaps twice, and no other."""
    _equal(f"states in HDFS of command {command.id}", set(DONE), told_states(lines))


def told_states(lines: str) -> set[str]:
    """Return the states in a command's lines of HDFS."""
    return {json.loads(line)["text"] for line in lines.splitlines()}


def counted(note: Notebook, readings: int) -> None:
    """See that the notebook's own query counted every reading, once."""
    _equal("readings counted by the notebook", readings, note.count)


def rendered(page: str) -> None:
    """See that an executed notebook's page shows its title, the files it read, a table, and no failed paragraph."""
    for text in ("Zeppelin Flume/HDFS Tutorial", "FlumeData.", "<table"):
        if text not in page:
            raise BrokenPromiseError(f"the notebook's page doesn't show {text!r}")
    if page.count("FINISHED") < 4:
        raise BrokenPromiseError(
            f"{page.count('FINISHED')} paragraphs FINISHED on the notebook's page, at least 4 should"
        )


def _equal(what: str, promised: object, found: object) -> None:
    if promised != found:
        raise BrokenPromiseError(f"{what}: promised {promised}, found {found}")
