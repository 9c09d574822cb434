"""What a model must be when it has settled: as the commands say, with every unit told of all there is."""

from collections.abc import Mapping, Sequence
from typing import Any

import juju_rules
from delivery import Deliveries
from diary import Attempt, Diary
from truth import DEFAULTS, Truth


def problems(diary: Diary, truth: Truth, status: Mapping[str, Any]) -> list[str]:
    """Return what differs between the settled model and what it should be."""
    deliveries = Deliveries(diary)
    found: list[str] = []
    for unit, story in deliveries.stories.items():
        if unit in truth.units:
            found += _living(deliveries, truth, unit)
        elif not diary.forced(unit):
            stands = juju_rules.told(deliveries, unit)
            if story.unfinished is not None:
                found.append(f"{unit} is gone, but {story.unfinished} was never finished")
            if stands.installed and not stands.removed:
                found.append(f"{unit} is gone, but was not told remove")
            if stands.storage:
                found.append(f"{unit} is gone, but not told that {sorted(stands.storage)} is detached")
    found += [f"{unit} never did anything" for unit in truth.units if unit not in deliveries.stories]
    machines = {unit["machine"] for app in status["applications"].values() for unit in app["units"].values()}
    if machines != set(status["machines"]):
        found.append(f"machines {sorted(status['machines'])}, but units on {sorted(machines)}")
    return found


def of_tasks(diary: Diary, truth: Truth, tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with actions: each ended as it ran, once, unless its unit or the daemon was gone."""
    found: list[str] = []
    for task in tasks:
        runs = [one for one in diary.attempts if one.task == task["id"]]
        where = f"action {task['id']} on {task['unit']} is {task['status']}, {task['message']!r}"
        match task["status"]:
            case "completed" if [one.outcome for one in runs] == ["ok"]:
                pass
            case "failed" if [one.outcome for one in runs] == ["failed"]:
                pass
            case "aborted" if task["unit"] not in truth.units or any(
                diary.killed(one, len(diary.lines)) for one in runs
            ):
                pass
            case "aborted" if not runs and any(mark.kind == "kill" for mark in diary.marks):
                pass
            case _:
                found.append(f"{where}; its runs: {[one.outcome for one in runs]}")
    return found


def _living(deliveries: Deliveries, truth: Truth, unit: str) -> list[str]:
    found: list[str] = []
    name = unit.partition("/")[0]
    stands = juju_rules.told(deliveries, unit)
    story = deliveries.stories[unit]
    if story.unfinished is not None:
        found.append(f"{story.unfinished} was never finished")
    if not stands.started or stands.leaving:
        found.append(f"{unit} is not started, or leaving")
    lowest = min(truth.apps[name].units, key=lambda one: int(one.partition("/")[2]))
    if stands.elected != (unit == lowest):
        found.append(f"{unit}: leader-elected is {stands.elected}, the lowest is {lowest}")
    config = _last(story.delivered, "config-changed")
    if config.read_at is not None and _told_config(deliveries, config, name) != dict(truth.apps[name].config):
        found.append(f"{config} read {config.config}, set is {truth.apps[name].config}")
    charm = [one for one in story.delivered if one.kind in ("install", "upgrade-charm")][-1]
    if charm.build != truth.apps[name].build:
        found.append(f"{charm} is of build {charm.build}, the newest is {truth.apps[name].build}")
    found += _relations(deliveries, truth, unit)
    return found


def _told_config(deliveries: Deliveries, told: Attempt, name: str) -> dict[str, str]:
    """Return the configuration that a unit was told of: what is set before an operator skips its hook counts."""
    config, read_at = dict(told.config), told.read_at
    skipped_at = deliveries.skipped_at(told)
    if skipped_at is None or read_at is None:
        return config
    marks = deliveries.diary.marks
    ends = {mark.command: mark for mark in marks if mark.kind in ("done", "unknown")}
    for begin in marks:
        end = ends.get(begin.command)
        if (begin.kind, begin.method, begin.params.get("app")) != ("begin", "set_config", name) or end is None:
            continue
        if begin.at < skipped_at and end.at > read_at:
            config |= {key: DEFAULTS[key] for key in begin.params.get("reset", ())} | begin.params["values"]
    return config


def _relations(deliveries: Deliveries, truth: Truth, unit: str) -> list[str]:
    found: list[str] = []
    name = unit.partition("/")[0]
    stands = juju_rules.told(deliveries, unit)
    wanted = [("ring", name)]
    wanted += [("client", server) for client, server in truth.relations if client == name]
    wanted += [("server", client) for client, server in truth.relations if server == name]
    there: list[tuple[str, str]] = []
    for number, relation in stands.relations.items():
        if relation.broken:
            continue
        about = [one for one in deliveries.stories[unit].delivered if one.relation == number]
        remote = about[0].remote_app
        there.append((relation.endpoint, remote))
        if (relation.endpoint, remote) not in wanted:
            continue
        members = truth.apps[remote].units - {unit}
        if relation.members != members:
            found.append(f"{unit} in {number}: told of {sorted(relation.members)}, there are {sorted(members)}")
        if relation.pending:
            found.append(f"{unit} in {number}: never told the change of {relation.pending}")
        for entity in (*relation.members, remote):
            found += _knows(deliveries, about, unit, number, entity)
    if sorted(there) != sorted(wanted):
        found.append(f"{unit} was told of {sorted(there)}, there are {sorted(wanted)}")
    return found


def _knows(deliveries: Deliveries, about: list[Attempt], unit: str, number: int, entity: str) -> list[str]:
    """Tell whether the last event about a databag showed its last word."""
    commits = deliveries.commits.get((number, entity), [])
    if not commits or commits[-1][0].unit == unit:
        return []
    events = [one for one in about if (one.remote_unit or one.remote_app) == entity]
    events = [one for one in events if one.kind in ("relation-joined", "relation-changed")]
    if not events:
        return [f"{unit} was never told what {entity} wrote in {number}"]
    last = events[-1]
    if last.read_at is None:
        return []
    word = last.relations[number]["bags"].get(entity, {}).get("first")
    return [] if word == commits[-1][1] else [f"{last} read {word!r}, but {entity} wrote {commits[-1][1]!r} last"]


def _last(delivered: list[Attempt], kind: str) -> Attempt:
    return [one for one in delivered if one.kind == kind][-1]
