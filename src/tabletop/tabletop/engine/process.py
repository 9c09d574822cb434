"""Runs a charm's program in its machine and takes what it prints."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from tabletop.engine.hooks import HookContext
from tabletop.engine.model import Model
from tabletop.engine.output import Reader

_LINGER = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str
    timed_out: bool = False


def run(
    model: Model,
    machine: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    on_line: Callable[[str, str], None] | None = None,
    on_start: Callable[[Callable[[], None]], None] | None = None,
    timeout: float | None = None,
) -> Outcome:
    """Run a program in a machine to its end.

    Args:
        model: the model.
        machine: the machine's name.
        argv: the program and its arguments.
        env: its environment.
        cwd: the folder in the machine it starts in.
        on_line: called with the stream's name and each line as it comes.
        on_start: called with a function that kills the program and what it started.
        timeout: seconds after which it is killed.
    """
    pipe = subprocess.PIPE
    process = model.machines.popen(machine, argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def kill() -> None:
        if process.returncode is not None:
            # Its number may be another's by now.
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    if on_start is not None:
        on_start(kill)
    streams = {name: Reader(name, stream, on_line) for name, stream in _streams(process)}
    timed_out = False
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        kill()
        process.wait()
    deadline = time.monotonic() + _LINGER
    for reader in streams.values():
        # A program left running in the background may hold the pipe for ever; Juju doesn't wait for that either, and
        # closes it, too (HookLogger): who writes to it later gets SIGPIPE.
        reader.end(deadline - time.monotonic())
    return Outcome(process.returncode, streams["stdout"].text(), streams["stderr"].text(), timed_out)


def run_for(
    context: HookContext,
    machine: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    on_line: Callable[[str, str], None] | None = None,
    timeout: float | None = None,
) -> Outcome:
    """Run a program of a unit in a hook's context: while it runs, its hook tools are answered.

    Args:
        context: the hook's context.
        machine: the name of the unit's machine.
        argv: see `run`, and likewise the rest; it starts in the charm's folder.
        env: see `run`.
        on_line: see `run`.
        timeout: see `run`.
    """
    model = context.model
    model.contexts[context.id] = context
    try:
        # Whoever ends it from here on finds its context; who did before has left word in the state.
        if _is_unwanted(context):
            return Outcome(-signal.SIGKILL, "", "")
        return run(
            model,
            machine,
            argv,
            env=env,
            cwd=env["CHARM_DIR"],
            on_line=on_line,
            on_start=context.began,
            timeout=timeout,
        )
    finally:
        del model.contexts[context.id]


def _is_unwanted(context: HookContext) -> bool:
    store, task = context.model.store, context.task
    if task is not None and store.value("SELECT status FROM task WHERE id = ?", task.id) == "aborting":
        return True
    return store.one("SELECT 1 FROM unit WHERE name = ?", context.unit) is None


def _streams(process: "subprocess.Popen[Any]") -> list[tuple[str, IO[bytes]]]:
    assert process.stdout is not None  # noqa: S101 - asked for above
    assert process.stderr is not None  # noqa: S101
    return [("stdout", process.stdout), ("stderr", process.stderr)]
