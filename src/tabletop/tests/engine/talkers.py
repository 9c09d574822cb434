"""Random commands to a model of charms that talk: a state machine for hypothesis, whatever runs the engine."""

import itertools
import json
import stat
import sys
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import juju_rules
import outcome
from diary import Diary
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from truth import Truth, observed
from world import CHARMS

from tabletop.errors import TabletopError

SETTLE = 60.0
NAMES = ("a", "b", "c")
MOST_UNITS = 6
HOOKS = (
    "any",
    "install",
    "config-changed",
    "start",
    "leader-elected",
    "leader-settings-changed",
    "ring-relation-changed",
    "server-relation-joined",
    "server-relation-changed",
    "client-relation-created",
    "client-relation-joined",
    "client-relation-changed",
    "client-relation-departed",
    "client-relation-broken",
    "server-relation-departed",
    "server-relation-broken",
    "secret-changed",
    "upgrade-charm",
    "stop",
    "remove",
    "data-storage-attached",
    "data-storage-detaching",
)
WRITERS = (
    "any",
    "config-changed",
    "leader-elected",
    "ring-relation-created",
    "ring-relation-joined",
    "client-relation-created",
    "client-relation-joined",
    "server-relation-joined",
)
STAGES = ("enter", "half", "late", "end")
LATE = ("half", "late", "end")
FORCE = (False, False, False, True)
WORDS = ("one", "two", "")
picks = st.integers(0, 11)


def pack(directory: Path, build: int) -> Path:
    """Pack a build of the charm; its hooks write under the directory."""
    target = directory / f"talker-{build}.charm"
    if not target.exists():
        folder = CHARMS / "talker"
        script = (folder / "dispatch").read_text().replace("@world@", str(directory)).replace("@build@", str(build))
        with zipfile.ZipFile(target, "w") as archive:
            for name in ("metadata.yaml", "config.yaml", "actions.yaml"):
                archive.write(folder / name, name)
            archive.writestr("version", str(build))
            info = zipfile.ZipInfo("dispatch")
            info.external_attr = (stat.S_IFREG | 0o755) << 16
            archive.writestr(info, script)
    return target


class Talkers(RuleBasedStateMachine):
    """Commands in any order, none of which waits for what the one before it set off."""

    directory: Path
    counts: ClassVar[Counter[str]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.counts = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.builds = itertools.count(1)
        self.truth = Truth()
        self.going: set[str] = set()
        self.ending: set[tuple[str, str]] = set()
        self.secrets: list[str] = []
        self.tasks: list[str] = []
        self.counts["examples"] += 1

    @classmethod
    def told(cls) -> str:
        """Tell what all machines of the class have done."""
        return f"{cls.__name__}: " + ", ".join(f"{count} {what}" for what, count in cls.counts.items())

    # What runs the engine.

    def call(self, method: str, **params: Any) -> Any:
        """Give a command; raise a TabletopError if it is refused."""
        raise NotImplementedError

    def close(self) -> None:
        """End the model and what runs it."""
        raise NotImplementedError

    def ambiguous(self) -> set[tuple[str, str]]:
        """Return pairs that are not to be related, for one couldn't tell whether they have been."""
        return set()

    # Giving commands.

    def command(self, method: str, after: Truth | None = None, refused: tuple[str, ...] = (), **params: Any) -> Any:
        """Give a command that changes the model, which may be refused only for the reasons given.

        Args:
            method: of the API.
            after: what the model is to be if it is carried out.
            refused: parts of the texts with which it may be refused.
            params: its parameters.
        """
        number = next(self.numbers)
        self.counts["commands"] += 1
        self.mark("begin", command=number, method=method, params=params)
        try:
            result = self.call(method, model="m", **params)
        except TabletopError as error:
            self.mark("refused", command=number, why=str(error))
            self.counts["refused"] += 1
            if not any(text in str(error) for text in refused):
                raise AssertionError(f"{method} {params} was refused") from error
            return None
        self.mark("done", command=number)
        self.truth = after or self.truth
        self.led()
        return result

    def mark(self, kind: str, **fields: Any) -> None:
        """Note something in the diary."""
        with (self.directory / "diary").open("a") as diary:
            diary.write(json.dumps({"mark": kind, **fields}) + "\n")

    def status(self) -> dict[str, Any]:
        return self.call("status", model="m")

    def pick(self, number: int, among: list[Any]) -> Any:
        return among[number % len(among)]

    @initialize(clients=st.integers(1, 2), servers=st.integers(1, 2), related=st.booleans(), settled=st.booleans())
    def begin(self, clients: int, servers: int, related: bool, settled: bool) -> None:
        """Most of what can go wrong needs two applications that are related, and half of it, that they have settled."""
        self.deploy("a", clients)
        self.deploy("b", servers)
        if related:
            self.integrate(0)
        if settled:
            self.quiet()

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 3))
    def deploy(self, name: str, count: int) -> None:
        if name in self.truth.apps or len(self.truth.units) + count > MOST_UNITS:
            return
        build = next(self.builds)
        reasons = ("already exists",) if name in self.going else ()
        after = self.truth.deploy(name, count, build)
        charm = str(pack(self.directory, build))
        result = self.command("deploy", after, reasons, charm=charm, app=name, num_units=count)
        if result is not None:
            assert set(result["units"]) == after.apps[name].units

    @precondition(lambda self: len(self.truth.apps) > 1)
    @rule(number=picks)
    def integrate(self, number: int) -> None:
        pairs = sorted(set(itertools.permutations(self.truth.apps, 2)) - self.truth.relations - self.ambiguous())
        if not pairs:
            return
        client, server = self.pick(number, pairs)
        reasons = ("already exists",) if (client, server) in self.ending else ()
        after = self.truth.integrate(client, server)
        self.command("integrate", after, reasons, a=f"{client}:client", b=f"{server}:server")

    @precondition(lambda self: self.truth.relations)
    @rule(number=picks)
    def remove_relation(self, number: int) -> None:
        client, server = self.pick(number, sorted(self.truth.relations))
        self.ending.add((client, server))
        after = self.truth.remove_relation(client, server)
        self.command("remove_relation", after, a=f"{client}:client", b=f"{server}:server")

    @precondition(lambda self: self.truth.apps)
    @rule(number=picks, word=st.sampled_from(WORDS))
    def configure(self, number: int, word: str) -> None:
        name = self.pick(number, sorted(self.truth.apps))
        if word:
            self.command("set_config", self.truth.configure(name, {"word": word}), app=name, values={"word": word})
        else:
            after = self.truth.configure(name, {}, ("word",))
            self.command("set_config", after, app=name, values={}, reset=["word"])

    @precondition(lambda self: self.truth.apps)
    @rule(number=picks)
    def add_unit(self, number: int) -> None:
        if len(self.truth.units) < MOST_UNITS:
            name = self.pick(number, sorted(self.truth.apps))
            after = self.truth.add_units(name, 1)
            result = self.command("add_unit", after, app=name, num_units=1)
            if result is not None:
                assert result["units"] == [f"{name}/{after.numbers[name] - 1}"]

    @precondition(lambda self: self.truth.units)
    @rule(number=picks, force=st.sampled_from(FORCE))
    def remove_unit(self, number: int, force: bool) -> None:
        unit = self.pick(number, self.truth.units)
        self.command("remove_unit", self.truth.remove_unit(unit), unit=unit, force=force)

    @precondition(lambda self: self.truth.apps)
    @rule(number=picks, force=st.sampled_from(FORCE))
    def remove_application(self, number: int, force: bool) -> None:
        name = self.pick(number, sorted(self.truth.apps))
        self.going.add(name)
        self.ending |= {pair for pair in self.truth.relations if name in pair}
        self.command("remove_application", self.truth.remove_application(name), app=name, force=force)

    @precondition(lambda self: self.truth.apps)
    @rule(number=picks)
    def refresh(self, number: int) -> None:
        name = self.pick(number, sorted(self.truth.apps))
        build = next(self.builds)
        after = self.truth.refresh(name, build)
        self.command("refresh", after, app=name, charm=str(pack(self.directory, build)))

    @precondition(lambda self: self.truth.units)
    @rule(number=picks, action=st.sampled_from(("talk", "turn")), code=st.sampled_from((0, 0, 3)))
    def act(self, number: int, action: str, code: int) -> None:
        unit = self.pick(number, self.truth.units)
        params = {"code": code} if action == "talk" else {}
        queued = self.command("run_action", units=[unit], action=action, params=params)
        if queued is not None:
            self.tasks.append(queued["tasks"][unit])

    @precondition(lambda self: self.truth.apps)
    @rule(number=picks, what=st.sampled_from(("add", "update", "revoke", "grant", "remove")))
    def secret(self, number: int, what: str) -> None:
        name = self.pick(number, sorted(self.truth.apps))
        if what == "add" or not self.secrets:
            content = {"word": f"content {next(self.numbers)}"}
            uri = self.command("add_secret", name=f"secret-{next(self.numbers)}", content=content)
            if uri is None:
                return
            self.secrets.append(uri)
            self.command("grant_secret", secret=uri, app=name)
            self.command("set_config", self.truth.configure(name, {"secret": uri}), app=name, values={"secret": uri})
            return
        uri = self.pick(number, self.secrets)
        if what == "update":
            self.command("update_secret", secret=uri, content={"word": f"content {next(self.numbers)}"})
        elif what == "remove":
            self.secrets.remove(uri)
            self.command("remove_secret", secret=uri)
        else:
            self.command(f"{what}_secret", secret=uri, app=name)

    @rule(hook=st.sampled_from(HOOKS), times=st.integers(1, 3))
    def fail(self, hook: str, times: int) -> None:
        """Let hooks fail before they do anything."""
        self.order(hook, "fail", "enter", times)

    @rule(hook=st.sampled_from(WRITERS), stage=st.sampled_from(LATE), times=st.integers(1, 3))
    def fail_late(self, hook: str, stage: str, times: int) -> None:
        """Let hooks fail once they have written."""
        self.order(hook, "fail", stage, times)

    @precondition(lambda self: self.truth.apps)
    @rule(number=picks, stage=st.sampled_from(LATE), milliseconds=st.integers(0, 60), word=st.sampled_from(WORDS))
    def configure_in_vain(self, number: int, stage: str, milliseconds: int, word: str) -> None:
        """Change an option, which the hooks don't bear, and perhaps again while they fail."""
        self.order("config-changed", "fail", stage, 4)
        self.configure(number, "vain")
        time.sleep(milliseconds / 1000)
        if word:
            self.configure(number, word)

    @rule(hook=st.sampled_from(("ring-relation-changed", "client-relation-changed", "start", "update-status", "stop")))
    def write(self, hook: str) -> None:
        self.order(hook, "write", "late", 1)

    def order(self, hook: str, what: str, stage: str, times: int) -> None:
        for _ in range(times):
            (self.directory / "orders" / f"any~{hook}~{next(self.numbers)}~{what}~{stage}").touch()

    @precondition(lambda self: self.truth.units)
    @rule(number=picks, no_retry=st.booleans())
    def resolve(self, number: int, no_retry: bool) -> None:
        failed = [
            name
            for app in self.status()["applications"].values()
            for name, unit in app["units"].items()
            if unit["workload-status"]["current"] == "error"
        ]
        if failed:
            unit = self.pick(number, failed)
            self.command("resolved", None, ("not in an error state", "not found"), unit=unit, no_retry=no_retry)

    @rule(often=st.booleans())
    def update_status(self, often: bool) -> None:
        self.command("model_config", values={"update-status-hook-interval": "300ms" if often else "5m"})

    @rule(milliseconds=st.sampled_from((5, 20, 60, 200)))
    def pause(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)

    @rule()
    def settle(self) -> None:
        self.quiet()
        self.check()

    # What must hold.

    def led(self) -> None:
        """See that each application with units has one leader."""
        for name, app in self.status()["applications"].items():
            leaders = [unit for unit, one in app["units"].items() if one.get("leader")]
            assert len(leaders) == (1 if app["units"] else 0), f"{name} is led by {leaders}"

    def quiet(self) -> None:
        """Wait until nothing is left to do; what hooks are to do wrong they do once each, so that ends."""
        self.command("model_config", values={"update-status-hook-interval": "5m"})
        deadline = time.monotonic() + SETTLE
        while not self.idle(status := self.status()):
            assert time.monotonic() < deadline, f"it never settles: {json.dumps(status, indent=1)}\n{self.tail()}"
            time.sleep(0.05)
        self.going.clear()
        self.ending.clear()

    def idle(self, status: dict[str, Any]) -> bool:
        units = {name: unit for app in status["applications"].values() for name, unit in app["units"].items()}
        return (
            all(unit["juju-status"]["current"] == "idle" for unit in units.values())
            and not any(unit["workload-status"]["current"] == "error" for unit in units.values())
            and set(units) == set(self.truth.units)
            and set(status["applications"]) == set(self.truth.apps)
            and len(status["machines"]) == len({unit["machine"] for unit in units.values()})
        )

    def seen(self) -> Truth:
        """Return what the model is by its status."""
        status = self.status()
        configs = {
            name: {
                key: value["value"] for key, value in self.call("get_config", model="m", app=name)["settings"].items()
            }
            for name, app in status["applications"].items()
            if app.get("life", "alive") == "alive"
        }
        return observed(status, configs)

    def check(self) -> None:
        """Compare the settled model with the rules and with the truth."""
        diary = Diary(self.directory / "diary")
        found = juju_rules.problems(diary)
        found += outcome.problems(diary, self.truth, self.status())
        found += outcome.of_tasks(diary, self.truth, [self.call("task", model="m", id=task) for task in self.tasks])
        seen = self.seen()
        if seen != replace(self.truth, numbers={}):
            found.append(f"there is {seen}, there should be {self.truth}")
        assert not found, "\n".join([*found, self.tail()])

    def tail(self) -> str:
        """Return the diary for somebody to read, one line an attempt or mark, and keep it."""
        diary = Diary(self.directory / "diary")
        keep = Path(".hypothesis/last-diary")
        keep.parent.mkdir(exist_ok=True)
        keep.write_text("\n".join(diary.lines))
        events = [(one.entered, f"{one} {one.outcome}") for one in diary.attempts]
        events += [(mark.at, f"{mark.kind} {mark.method} {dict(mark.params)}") for mark in diary.marks]
        return "\n".join(text for _, text in sorted(events))

    def teardown(self) -> None:
        broken = sys.exc_info()[0] is not None
        try:
            if not broken:
                self.quiet()
                self.check()
        finally:
            diary = Diary(self.directory / "diary")
            self.counts["hooks"] += len(diary.attempts)
            self.counts["failed hooks"] += sum(one.outcome == "failed" for one in diary.attempts)
            self.close()
