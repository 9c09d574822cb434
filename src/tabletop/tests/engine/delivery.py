"""Which of the runs in a diary counted: an event is delivered, and its writes committed, by one successful run."""

from collections import defaultdict
from dataclasses import dataclass, field

from diary import Attempt, Diary, Mark


@dataclass
class Story:
    """What one unit was told, in order, and whether its last run was left without an end."""

    unit: str
    delivered: list[Attempt] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    unfinished: Attempt | None = None


class Deliveries:
    """Tells apart runs that were committed, were run again, or were skipped by an operator.

    Only one thing can't be known from the diary: whether a hook that had succeeded was committed before tabletop was
    killed, or the unit removed by force. It was if anybody ever read what it wrote; and otherwise if another event came
    after it.
    """

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.problems: list[str] = []
        self._seen = {word for one in diary.attempts for bags in one.relations.values() for word in _words(bags)}
        self.stories = {unit: self._story(unit) for unit in diary.units()}
        self.commits: dict[tuple[int, str], list[tuple[Attempt, str]]] = defaultdict(list)
        self._commit()

    def _commit(self) -> None:
        counted = {one.run for story in self.stories.values() for one in story.delivered} - {
            run for story in self.stories.values() for run in story.skipped
        }
        counted |= {one.run for one in self.diary.attempts if one.task and self._task_counted(one)}
        for one in sorted(self.diary.attempts, key=lambda one: one.ended or 0):
            if one.run in counted:
                for bag, word in one.written.items():
                    self.commits[bag].append((one, word))

    def _task_counted(self, one: Attempt) -> bool:
        if one.outcome != "ok" or one.ended is None:
            return False
        unsure = self.diary.killed(one, self.diary.next_entry(one)) or self.diary.forced(one.unit)
        return not unsure or self._was_seen(one)

    def _was_seen(self, one: Attempt) -> bool:
        return any(word in self._seen for word in one.written.values())

    def _story(self, unit: str) -> Story:
        story = Story(unit)
        hooks = self.diary.hooks_of(unit)
        for index, one in enumerate(hooks):
            after = hooks[index + 1] if index + 1 < len(hooks) else None
            self._judge(story, one, after)
        return story

    def _judge(self, story: Story, one: Attempt, after: Attempt | None) -> None:
        end = after.entered if after else len(self.diary.lines)
        killed = self.diary.killed(one, end)
        again = after is not None and after.event == one.event
        if one.outcome == "ok":
            cut_off = after is None and self.diary.forced(one.unit)
            if self._was_seen(one) or not (cut_off or (killed and again)):
                story.delivered.append(one)
            return
        skip = self._skipped(one, end)
        if skip == "surely" or (skip and not again):
            story.delivered.append(one)
            story.skipped.add(one.run)
        elif after is None:
            story.unfinished = one
        elif not again:
            self.problems.append(f"{one} did not succeed and was not skipped, yet {after} came next")
        elif one.outcome in ("", "lost") and not killed:
            self.problems.append(f"{one} ended without a word, and nobody killed anything")

    def _skipped(self, one: Attempt, end: int) -> str:
        """Tell whether an operator skipped an attempt that failed: surely, maybe, or not ('')."""
        if one.outcome != "failed" or one.ended is None:
            return ""
        found = ""
        for begin, done in self._skips(one.unit):
            if one.ended < begin.at and done.at < end:
                return "surely"
            if begin.at < end and done.at > one.ended:
                found = "maybe"
        return found

    def skipped_at(self, one: Attempt) -> int | None:
        """Return the line by which an attempt that failed had been skipped; None for one that was not."""
        if one.ended is None or one.run not in self.stories[one.unit].skipped:
            return None
        return max(done.at for _, done in self._skips(one.unit) if done.at > one.ended)

    def _skips(self, unit: str) -> list[tuple[Mark, Mark]]:
        begins = {
            mark.command: mark
            for mark in self.diary.marks
            if mark.kind == "begin"
            and mark.method == "resolved"
            and mark.params["unit"] == unit
            and mark.params["no_retry"]
        }
        # A command that tabletop didn't survive may have been carried out.
        ends = [mark for mark in self.diary.marks if mark.kind in ("done", "unknown") and mark.command in begins]
        return [(begins[mark.command], mark) for mark in ends]


def _words(bags: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    return [bag[key] for bag in bags["bags"].values() for key in ("first", "second") if key in bag]
