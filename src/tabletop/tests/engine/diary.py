"""What the charm `talker` notes of its hooks, read back; a test adds its own marks (commands, kills) to the file."""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RELATION_EVENTS = ("relation-created", "relation-joined", "relation-changed", "relation-departed", "relation-broken")


@dataclass
class Attempt:
    """One run of a hook or an action; positions are lines of the diary."""

    unit: str
    run: str
    entered: int
    hook: str
    build: int
    parent: int
    relation: int | None
    remote_unit: str
    remote_app: str
    departing: str
    storage: str
    secret: str
    revision: int
    task: str
    read_at: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    leader: bool = False
    relations: Mapping[int, Any] = field(default_factory=dict)
    written: dict[tuple[int, str], str] = field(default_factory=dict)
    secrets: list[tuple[str, str | None]] = field(default_factory=list)
    outcome: str = ""
    ended: int | None = None

    @property
    def application(self) -> str:
        return self.unit.partition("/")[0]

    @property
    def kind(self) -> str:
        """The event without the names that the charm gave: `relation-joined`, `storage-attached`, `install`."""
        if self.relation is not None or self.storage:
            return self.hook.partition("-")[2]
        return self.hook

    @property
    def event(self) -> tuple[Any, ...]:
        """What makes it the same event as another attempt's."""
        return (
            self.hook,
            self.relation,
            self.remote_unit,
            self.remote_app,
            self.departing,
            self.storage,
            self.secret,
            self.revision,
        )

    def __str__(self) -> str:
        about = " ".join(str(one) for one in self.event if one not in (None, "", 0))
        return f"{self.unit}: {about} (line {self.entered + 1})"


@dataclass(frozen=True)
class Mark:
    """What a test did: one end of a command (`begin`, then `done`, `refused` or `unknown`), or a daemon's (`kill`)."""

    at: int
    kind: str
    command: int = 0
    method: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


class Diary:
    """The file, parsed."""

    def __init__(self, path: Path) -> None:
        self.attempts: list[Attempt] = []
        self.marks: list[Mark] = []
        self.refusals: list[str] = []
        self.lines = path.read_text().splitlines() if path.exists() else []
        runs: dict[str, Attempt] = {}
        for at, text in enumerate(self.lines):
            line = json.loads(text)
            if "mark" in line:
                self.marks.append(
                    Mark(at, line["mark"], line.get("command", 0), line.get("method", ""), line.get("params", {}))
                )
            elif line["stage"] == "enter":
                runs[line["run"]] = _attempt(at, line)
                self.attempts.append(runs[line["run"]])
            else:
                self._continue(runs[line["run"]], at, line)
        self._entries: dict[str, list[int]] = defaultdict(list)
        for one in self.attempts:
            self._entries[one.unit].append(one.entered)

    def _continue(self, attempt: Attempt, at: int, line: Mapping[str, Any]) -> None:
        match line["stage"]:
            case "read":
                attempt.read_at = at
                attempt.config, attempt.leader = line["config"], line["leader"]
                attempt.relations = {int(key): value for key, value in line["relations"].items()}
            case "write":
                for relation, entity in line["bags"]:
                    attempt.written[(relation, entity)] = line["word"]
            case "secret":
                content = line["content"]
                attempt.secrets.append((plain(line["secret"]), content and content["word"]))
            case "refused":
                self.refusals.append(f"{attempt}: {line['error']}")
                attempt.outcome, attempt.ended = "failed", at
            case stage:
                attempt.outcome, attempt.ended = stage, at

    def hooks_of(self, unit: str) -> list[Attempt]:
        return [one for one in self.attempts if one.unit == unit and not one.task]

    def next_entry(self, attempt: Attempt) -> int:
        """Return where the unit's next attempt begins, or one past the last line."""
        entries = self._entries[attempt.unit]
        later = bisect_right(entries, attempt.entered)
        return entries[later] if later < len(entries) else len(self.lines)

    def units(self) -> list[str]:
        return sorted({one.unit for one in self.attempts})

    def forced(self, unit: str) -> bool:
        """Tell whether a unit was removed by force, which spares it its last hooks, and ends the one that runs."""
        application = unit.partition("/")[0]
        first = min((one.entered for one in self.attempts if one.unit == unit), default=len(self.lines))
        # The name may have been removed before, and deployed anew with this unit.
        deployed = max(
            mark.at
            for mark in self.marks
            if mark.method == "deploy" and mark.params.get("app") == application and mark.at < first
        )
        return any(
            mark.params.get("force")
            and (mark.params.get("unit") == unit or (mark.params.get("app") == application and mark.at > deployed))
            for mark in self.marks
        )

    def killed(self, attempt: Attempt, end: int) -> bool:
        """Tell whether the daemon that ran an attempt was killed before a line.

        A hook that was about to begin then may write its first line after the mark, if not after the next daemon's.
        """
        kills = [mark for mark in self.marks if mark.kind == "kill" and mark.at < end]
        pids = {mark.params["pid"] for mark in kills}
        orphan = bool(kills) and attempt.parent not in {
            mark.params["pid"] for mark in self.marks if mark.kind == "start"
        }
        return orphan or attempt.parent in pids


def plain(uri: str) -> str:
    """Return a secret's id without its scheme."""
    return uri.removeprefix("secret:").rpartition("/")[2]


def _attempt(at: int, line: Mapping[str, Any]) -> Attempt:
    return Attempt(
        unit=line["unit"],
        run=line["run"],
        entered=at,
        hook=line["hook"],
        build=int(line["build"]),
        parent=int(line["parent"]),
        relation=int(line["relation"].rpartition(":")[2]) if line["relation"] else None,
        remote_unit=line["remote_unit"] or "",
        remote_app=line["remote_app"] or "",
        departing=line["departing"] or "",
        storage=line["storage"] or "",
        secret=plain(line["secret"] or ""),
        revision=int(line["revision"] or 0),
        task=line["task"] or "",
    )
