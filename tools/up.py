#!/usr/bin/env python3
"""Bring the IoT analytics bundle up on this machine, show that it works, say where things are.

``up`` builds what is missing (base image, charm resources, charms), deploys the bundle with tabletop, sends test
data from the sensor node, counts it in HDFS and runs the tutorial notebook. ``down`` removes all of it again.
``status`` shows the model. Each can be given again at any time.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import chain
import jubilant
import prepare
import through_jubilant
from chain import BUNDLE, ROOT, Result, Step
from prepare import BUILD, TABLETOP

RESULT = BUILD / "up.json"
"""What the chain's proof found; there while nothing was deployed since."""
LOCK = Path("/run/lock/iot-analytics-up.lock")
MODEL = "iot"
GOING_ON = ("active", "waiting", "maintenance")
"""The statuses of units that nobody need do anything about."""
PAGES = (
    ("RabbitMQ management", "rabbitmq", 15672),
    ("HDFS NameNode", "hadoop-namenode", 9870),
    ("YARN ResourceManager", "hadoop-resourcemanager", 8088),
    ("Spark history", "spark", 18080),
    ("Zeppelin", "zeppelin", 9080),
)

started = time.monotonic()


class UpError(Exception):
    """The chain can't be brought up; the text says what to do."""


def say(text: str) -> None:
    """Print a line of progress, stamped with the seconds since the start."""
    print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)


@contextmanager
def only_one():
    """Hold the lock that keeps two ``make up`` or ``make down`` apart.

    Raises:
        UpError: another one is running.
    """
    with LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise UpError(
                f"another make up or make down is at work (pid {holder}). Wait for it, or stop it and try again."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def stream(name: str, command: Sequence[str | Path]) -> None:
    """Run a command, its output as progress lines.

    Raises:
        UpError: it failed; what it printed last is in the text.
    """
    with subprocess.Popen(
        list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        last = ""
        for line in process.stdout or ():
            last = line.rstrip() or last
            if line.strip():
                say(f"{name}: {line.rstrip()}")
    if process.returncode:
        raise UpError(f"{name} failed: {last.removeprefix('ERROR ')}")


def together(*jobs: Callable[[], None]) -> None:
    """Run jobs at the same time; raise an error of theirs, whatever it is, once all have ended."""
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(job) for job in jobs]
    for job in running:
        job.result()


def build() -> None:
    """Make the base image, the resources and the charms, each only if it is missing or out of date."""

    def image() -> None:
        stream("machine image", prepare.bootstrap(TABLETOP))

    def parts() -> None:
        stream("resources", prepare.resources())
        for command in prepare.charms(TABLETOP):
            stream("charms", command)

    together(image, parts)


def run_shown(step: Step[Result], /) -> Result:
    """Run a step and show its log as it comes.

    Raises:
        UpError: the action failed.
    """
    unit, action = step.unit, step.action
    words = [f"{key}={value}" for key, value in step.params.items()]
    say(f"juju run {unit} {action} {' '.join(words)}")
    command = [TABLETOP, "run", "-m", MODEL, "--format", "json", "--wait", "30m", unit, action, *words]
    result = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
    try:
        task = json.loads(result.stdout)[unit]
    except (ValueError, KeyError):
        raise UpError(f"{action} on {unit} gave no answer; `tabletop debug-log -m {MODEL}` may say why") from None
    if result.returncode or task["status"] != "completed":
        raise UpError(f"{action} on {unit} {task['status']}: {task.get('message', '')}; results {task.get('results')}")
    return step.read(task["results"])


def show(juju: jubilant.Juju) -> None:
    """Print the model as ``juju status`` does, and where its pages are."""
    print()
    print(juju.cli("status"))
    status = juju.status()
    print("Pages (addresses on this machine's own bridge):")
    for title, app, port in PAGES:
        for unit in status.apps[app].units.values() if app in status.apps else ():
            print(f"  {title:<22} http://{unit.public_address}:{port}")
    print(f"  {'The executed notebook':<22} {BUILD / 'notebook.html'}")
    print("Credentials of RabbitMQ's page:  .venv/bin/tabletop run rabbitmq/0 get-admin-credentials")
    print("The test data again:             .venv/bin/tabletop run sensor-node/0 generate-data count=10000")
    print("Everything away:                 make down")


def status_of(juju: jubilant.Juju) -> jubilant.Status | None:
    """Return the model's status; None where there is no model yet."""
    return juju.status() if MODEL in models() else None


def only_time_is_missing(status: jubilant.Status) -> bool:
    """Tell whether all is deployed, and each unit is active or will be once it, or another, has done its work."""
    return set(chain.APPLICATIONS) <= status.apps.keys() and all(
        app.units and all(unit.workload_status.current in GOING_ON for unit in app.units.values())
        for app in status.apps.values()
    )


def models() -> list[str]:
    """List the models there are; none if tabletop was never started."""
    result = subprocess.run(
        [str(TABLETOP), "models", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    if result.returncode:
        return []
    return [model["short-name"] for model in json.loads(result.stdout)["models"]]


def prove(count: int, seed: int) -> dict[str, object]:
    """Send readings through the chain and count them at its other end; returns the figures."""
    sent = run_shown(chain.generate(count=count, seed=seed))
    begin = time.monotonic()
    found = run_shown(chain.verify(sent))
    print(found.listing)
    say(
        f"readings sent {found.sent:,} / in HDFS {found.in_hdfs:,} / lost {found.lost} / duplicated {found.duplicated}"
        f" ({time.monotonic() - begin:.0f} s after the last was sent)"
    )
    note = run_shown(chain.run_notebook(sent))
    print(note.paragraphs)
    if note.count != sent.readings:
        raise UpError(f"the notebook counted {note.count:,} readings, sent were {sent.readings:,}")
    say(f"the notebook's query counted {note.count:,} readings: all that were sent")
    return {
        "node": sent.node,
        "sent": sent.readings,
        "in_hdfs": found.in_hdfs,
        "lost": found.lost,
        "duplicated": found.duplicated,
        "counted_by_notebook": note.count,
        "page": note.html,
    }


def parts(status: jubilant.Status | None) -> dict[str, object]:
    """Return what is deployed: the units of each application, and what it is related to."""
    apps = status.apps if status else {}
    return {name: (set(app.units), app.relations) for name, app in apps.items()}


def deploy(juju: jubilant.Juju) -> None:
    """Deploy what is missing of the bundle; if anything was, the chain isn't proven any more."""
    before = parts(status_of(juju))
    proof = RESULT.read_text() if RESULT.exists() else ""
    # Here, and not when it is known: the deployment may be broken off.
    RESULT.unlink(missing_ok=True)
    if MODEL not in models():
        stream("tabletop", [TABLETOP, "add-model", MODEL])
    stream("deploy", [TABLETOP, "deploy", "-m", MODEL, BUNDLE])
    if proof and parts(status_of(juju)) == before:
        RESULT.write_text(proof)


def up(count: int, seed: int) -> None:
    """Bring everything up; change nothing if it is, and prove nothing that was proven."""
    juju = jubilant.Juju(model=MODEL, cli_binary=str(TABLETOP), wait_timeout=1200)
    # Nothing of tabletop's is started before it is known that it can be: that is told while the image is made.
    status = status_of(juju) if RESULT.exists() else None
    if status and only_time_is_missing(status):
        through_jubilant.wait_until_active(juju, progress=say)
        say("already up; nothing was changed")
        show(juju)
        return
    say("This will install Debian packages, make a network bridge and nftables rules of its own, and run ten")
    say("systemd machines under /var/lib/tabletop. `make down` removes them.")
    build()
    deploy(juju)
    through_jubilant.wait_until_active(juju, progress=say)
    say("every unit is active")
    if RESULT.exists():
        say("nothing had to be deployed, so the chain is not proven again")
    else:
        figures = prove(count, seed)
        juju.scp(f"zeppelin/0:{figures.pop('page')}", BUILD / "notebook.html")
        figures["seconds"] = round(time.monotonic() - started, 1)
        RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    show(juju)
    say("up")


def down() -> None:
    """Remove everything."""
    stream("tabletop", [TABLETOP, "destroy", "--no-prompt"])
    RESULT.unlink(missing_ok=True)
    say("down; the caches of downloads and images stay, so that the next make up is fast")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="up.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument(
        "--count", type=int, default=chain.READINGS, help="readings of the test run (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the test run (default %(default)s)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("ERROR not root: this makes machines and a bridge. Run it as root, e.g. 'sudo make up'.", file=sys.stderr)
        return 1
    try:
        if options.command == "status":
            show(jubilant.Juju(model=MODEL, cli_binary=str(TABLETOP)))
            return 0
        with only_one():
            if options.command == "up":
                up(options.count, options.seed)
            else:
                down()
    except (UpError, TimeoutError) as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    except jubilant.CLIError as error:
        print(f"ERROR {(error.stderr or str(error)).strip().removeprefix('ERROR ')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What is there stays; `make up` goes on from it, `make down` removes it.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
