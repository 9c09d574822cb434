"""Checks a bundle with its overlays against the metadata of its charms."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabletop.bundles.check import examine
from tabletop.bundles.planned import Plan
from tabletop.bundles.problems import Problems
from tabletop.bundles.source import RawBundle, read
from tabletop.lint.findings import Findings
from tabletop.yamlfile import YamlError, as_list


def lint_bundle(path: Path, overlays: Sequence[Path], charms: Mapping[str, Path], findings: Findings) -> None:
    """Check a bundle.

    What a build makes needs not be there: a packed charm is read from its folder, if `charms` has one of that name,
    and files of resources aren't looked for.

    Args:
        path: the bundle's file.
        overlays: laid over it, in this order.
        charms: folders of charms by the charms' names.
        findings: takes what is found.
    """
    problems = Problems()
    try:
        raw = read(path, overlays, problems)
    except YamlError as error:
        findings.error_text(str(error))
        return
    plan = examine(raw, problems, charms=charms)
    for where, text in problems.found:
        if where:
            findings.error(where, text)
        else:
            findings.error_text(text)
    for notice in plan.notices:
        where, _, text = notice.partition(": ")
        findings.warning(where, text)
    _unused_machines(raw, findings)
    _resources_left_out(raw, plan, findings)
    _units_unsaid(raw, plan, findings)


def _unused_machines(raw: RawBundle, findings: Findings) -> None:
    used: set[str] = set()
    for app in raw.applications.values():
        to = app.keys.get("to")
        if to is None:
            continue
        for place in as_list(to.value) or str(to.value).split(","):
            used.add(str(place).strip().rpartition(":")[2])
    for number, value in raw.machines.items():
        if number not in used:
            findings.warning(value.where, f"machine {number} is used by no application's 'to'")


def _resources_left_out(raw: RawBundle, plan: Plan, findings: Findings) -> None:
    for app in plan.applications:
        given = raw.applications[app.name].resources
        for name, resource in app.charm.resources.items():
            if name not in given and resource.type == "file":
                findings.warning(
                    app.where, f"application {app.name!r} is given no resource {name!r}, which its charm can use"
                )


def _units_unsaid(raw: RawBundle, plan: Plan, findings: Findings) -> None:
    for app in plan.applications:
        if "num_units" not in raw.applications[app.name].keys and not app.charm.subordinate:
            findings.warning(app.where, f"application {app.name!r} has no num_units, so it gets no unit")
