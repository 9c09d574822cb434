"""Measures tabletop on real machines of this host: hooks, hook tools, a model's settling, boot, memory.

    python benchmarks/tabletop.py [--rounds 25] [--calls 200] [--units 10] [--skip-settle]

As root; makes a tabletop of its own (state under /var/lib/tabletop-bench), shares the cache of images, and removes all
of it at the end. Two small charms on ops, the ones that tabletop's tests deploy, are what is run.

- hook: what a hook costs from the engine's beginning it to its commit, as the engine's own log tells, against the
  charm's `dispatch` run by hand on the same machine, in the same environment, answered by the same hook tools.
- tool: a hook tool's call against spawning `/bin/true`, both timed by the shell that spawns them, inside a hook.
- settle: a deployment of ten units on ten machines, from the command to all active and idle.

The measurements that are compared take turns, so that what else the host does hits both. Figures are medians; those
called quiet are tenth percentiles, the nearest that a busy host comes to an idle one. The last line is one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# This folder, in which a file, this one, has the name of the package that is measured.
sys.path.remove(str(Path(__file__).resolve().parent))

from tabletop.client import Client
from tabletop.machine import Machines
from tabletop.paths import Paths

ROOT = Path(__file__).resolve().parents[1]
CHARMS = ROOT / "src/tabletop/tests/charms"
TABLETOP = Path(sys.executable).parent / "tabletop"
PATHS = Paths(Path("/var/lib/tabletop-bench"), Paths.from_environment().cache, Path("/run/tabletop-bench"))
MODEL = "bench"
PATIENCE_S = 300.0

# Each line of output: microseconds. The shell's own clock, so that no further process is in what is timed.
_TIMING = """\
t() { local s=$EPOCHREALTIME e; "$@" >/dev/null 2>&1; e=$EPOCHREALTIME; echo "$(( ${e/./} - ${s/./} ))"; }
"""
_BY_HAND = f"""\
{_TIMING}
export JUJU_DISPATCH_PATH=hooks/config-changed JUJU_HOOK_NAME=config-changed
t "$CHARM_DIR/dispatch"
"""
TOOLS = {
    "is-leader": "is-leader",
    "config-get": "config-get --all --format=json",
    "relation-get": "relation-get -r data - store/0",
    "state-set": "state-set key=$i",
}


def tabletop(*words: object) -> str:
    environment = {**os.environ, "TABLETOP_STATE": str(PATHS.state), "TABLETOP_RUN": str(PATHS.run)}
    done = subprocess.run(
        [str(word) for word in (TABLETOP, *words)], env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tabletop {words[0]} failed: {done.stderr}")
    return done.stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Bench:
    """One model, and what is asked of the daemon that holds it."""

    def __init__(self) -> None:
        self.client = Client(PATHS)

    def status(self) -> dict[str, Any]:
        return self.client.call("status", model=MODEL)

    def units(self, app: str) -> dict[str, Any]:
        return self.status()["applications"][app]["units"]

    def settle(self, *apps: str, workload: str | None = None) -> None:
        """Wait until the units of some applications are idle, and their workload is of a state if one is given."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            units = [unit for app in apps for unit in self.units(app).values()]
            done = all(unit["juju-status"]["current"] == "idle" for unit in units)
            if done and all(workload in (None, unit["workload-status"]["current"]) for unit in units):
                return
            time.sleep(0.05)
        raise SystemExit(f"not settled after {PATIENCE_S:.0f} s: {self.status()}")

    def shell(self, unit: str, script: str) -> str:
        """Run a script in a hook's context."""
        done = self.client.call("exec", model=MODEL, target=unit, script=script, timeout=PATIENCE_S)
        if done["return-code"]:
            raise SystemExit(f"{unit}: {done}")
        return done["stdout"]

    def log(self, since: int, **choice: Any) -> list[dict[str, Any]]:
        return self.client.call("debug_log", model=MODEL, since_id=since, **choice)["lines"]

    def last_line(self) -> int:
        lines = self.log(0, limit=1)
        return int(lines[-1]["id"]) if lines else 0

    def hook(self, unit: str, app: str, option: str, value: object) -> float:
        """Change an option; return the seconds that the hook it makes took, its commit included."""
        since = self.last_line()
        self.client.call("set_config", model=MODEL, app=app, values={option: str(value)})
        while True:
            for line in self.log(since, unit=unit, wait=30):
                since = line["id"]
                if line["message"].startswith('hook "config-changed" took '):
                    return float(line["message"].split()[3])


def median(values: list[float]) -> float:
    return statistics.median(values)


def quiet(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]


def measure_hooks(bench: Bench, rounds: int) -> dict[str, Any]:
    hooks: list[float] = []
    by_hand: list[float] = []
    for number in range(rounds + 1):
        hook = bench.hook("web/0", "web", "ratio", 0.1 + number / 1000)
        hand = int(bench.shell("web/0", _BY_HAND)) / 1e6
        if number:  # the first warms up
            hooks.append(hook)
            by_hand.append(hand)
    pairs = [a / b for a, b in zip(hooks, by_hand, strict=True)]
    say(f"hook: {median(hooks) * 1e3:.1f} ms, dispatch by hand {median(by_hand) * 1e3:.1f} ms")
    return {
        "hook_ms": round(median(hooks) * 1e3, 1),
        "dispatch_ms": round(median(by_hand) * 1e3, 1),
        "hook_ratio": round(median(hooks) / median(by_hand), 3),
        "hook_ratio_of_pairs": round(median(pairs), 3),
        "hook_ratio_quiet": round(quiet(hooks) / quiet(by_hand), 3),
    }


def measure_tools(bench: Bench, calls: int) -> dict[str, Any]:
    """Return, for each tool, the milliseconds that a call costs beyond spawning `/bin/true`."""
    lines = "\n".join(f"t {tool}" for tool in TOOLS.values())
    rows = bench.shell("web/0", f"{_TIMING}for i in $(seq {calls}); do\nt /bin/true\n{lines}\ndone\n").split()
    columns = [[int(value) / 1e3 for value in rows[offset :: 1 + len(TOOLS)]] for offset in range(1 + len(TOOLS))]
    spawn = median(columns[0])
    over = {name: round(median(column) - spawn, 2) for name, column in zip(TOOLS, columns[1:], strict=True)}
    least = max(quiet(column) for column in columns[1:]) - quiet(columns[0])
    say(f"tools: /bin/true {spawn:.2f} ms; over that {over}")
    return {
        "true_ms": round(spawn, 2),
        "tool_over_ms": over,
        "tool_over_ms_worst": max(over.values()),
        "tool_over_ms_quiet": round(least, 2),
    }


@contextmanager
def hooks_running(bench: Bench, app: str, unit: str) -> Iterator[list[float]]:
    """Have a unit run one hook after another meanwhile."""
    ended = threading.Event()
    took: list[float] = []

    def run() -> None:
        for number in range(1_000_000):
            if ended.is_set():
                return
            took.append(bench.hook(unit, app, "colour", f"shade-{number}"))

    # A failure in there ends the measurement: figures beside hooks that do not run would be those of an idle machine.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield took
        finally:
            ended.set()
        running.result()


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def measure_settling(bench: Bench, charm: Path, seed: Path, units: int) -> dict[str, Any]:
    before = bench.last_line()
    began = time.monotonic()
    tabletop("deploy", "-m", MODEL, charm, "many", "-n", units, "--resource", f"seed={seed}")
    deployed = time.monotonic() - began
    bench.settle("many", workload="active")
    took = time.monotonic() - began
    boots = [
        float(line["message"].rpartition(" in ")[2].split()[0])
        for line in bench.log(before)
        if line["entity"].startswith("machine-") and line["message"].startswith("started as ")
    ]
    machines = Machines(PATHS)
    memory = [machines.usage(name) / 1e6 for name in machines.names()]
    say(f"settle: {units} units in {took:.1f} s; machine up in {median(boots):.2f} s, {median(memory):.0f} MB")
    return {
        "settle_units": units,
        "settle_s": round(took, 1),
        "deploy_command_s": round(deployed, 2),
        "boot_s": round(median(boots), 2),
        "machine_mb": round(median(memory), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure tabletop on real machines")
    parser.add_argument("--rounds", type=int, default=25, help="hooks, and dispatches by hand")
    parser.add_argument("--calls", type=int, default=200, help="calls of each hook tool")
    parser.add_argument("--units", type=int, default=10, help="units of the deployment that is to settle")
    parser.add_argument("--skip-settle", action="store_true", help="measure hooks and tools alone")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    tabletop("bootstrap")
    try:
        with tempfile.TemporaryDirectory() as folder:
            seed = Path(folder) / "seed.txt"
            seed.write_text("corn\n")
            for name in ("store", "web"):
                tabletop("pack", CHARMS / name, "-o", Path(folder) / f"{name}.charm")
            bench = Bench()
            tabletop("add-model", MODEL)
            pid = int(bench.client.call("ping")["pid"])
            figures["daemon_empty_mb"] = resident_mb(pid)
            tabletop("deploy", "-m", MODEL, Path(folder) / "store.charm", "--resource", f"seed={seed}")
            tabletop("deploy", "-m", MODEL, Path(folder) / "web.charm")
            bench.settle("store", "web")
            say("measuring hooks")
            figures |= measure_hooks(bench, options.rounds)
            tabletop("integrate", "-m", MODEL, "store", "web")
            bench.settle("store", "web", workload="active")
            say("measuring hook tools")
            figures |= measure_tools(bench, options.calls)
            with hooks_running(bench, "store", "store/0") as beside:
                busy = measure_tools(bench, options.calls)
            figures |= {f"busy_{name}": value for name, value in busy.items()} | {"busy_hooks": len(beside)}
            commands = []
            for _ in range(10):
                began = time.monotonic()
                tabletop("status", "-m", MODEL, "--format", "json")
                commands.append(time.monotonic() - began)
            figures["status_command_ms"] = round(median(commands) * 1e3, 1)
            if not options.skip_settle:
                figures |= measure_settling(bench, Path(folder) / "store.charm", seed, options.units)
            figures["daemon_mb"] = resident_mb(pid)
    finally:
        tabletop("destroy", "--no-prompt")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
