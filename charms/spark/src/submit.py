"""Runs applications with spark-submit, and waits for their end."""

import json
import re
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import history
import spark
from iot_charm.errors import IotCharmError
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.webhdfs import WebHdfs

OUTPUT_LIMIT = 8000
"""Characters of an application's output that are kept: the last ones."""

_APPLICATION = re.compile(r"\b(application_\d+_\d+)\b")
_STATE = re.compile(r"Application report for (application_\d+_\d+) \(state: (\w+)\)")


class SubmitError(IotCharmError):
    """An application failed; the text says how."""

    def __init__(self, text: str, run: "Run | None" = None) -> None:
        super().__init__(text)
        self.run = run


@dataclass(frozen=True)
class Run:
    """An application that ended."""

    exit_code: int
    application: str
    """YARN's identifier; empty for one that did not run on YARN."""
    seconds: float
    output: str
    """The end of what the driver printed, if it ran here."""
    log: str
    """The end of Spark's own log."""


def submit(
    words: Sequence[str],
    *,
    address: str,
    timeout_s: float,
    progress: Callable[[str], None],
    resourcemanager: ResourceManager | None,
) -> Run:
    """Submit an application and wait for its end.

    Args:
        words: of spark-submit: options, the application, its arguments.
        address: of this machine.
        timeout_s: after which the application is stopped.
        progress: is told how the application gets on.
        resourcemanager: asked to kill an application that takes too long.

    Raises:
        SubmitError: the application failed or took too long.
    """
    started = time.monotonic()
    environment: Mapping[str, str] = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(spark.DATA),
        "LANG": "C.UTF-8",
        **spark.environment(address),
    }
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output,
        subprocess.Popen(
            [str(spark.HOME / "bin" / "spark-submit"), *words],
            env=environment,
            cwd=spark.DATA,
            user=spark.USER,
            group=spark.USER,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process,
    ):
        timer = threading.Timer(timeout_s, process.terminate)
        timer.start()
        try:
            application, lines = _follow(process.stderr, progress)
            code = process.wait()
        finally:
            timed_out = timer.finished.is_set()
            timer.cancel()
            if process.poll() is None:
                process.kill()
        run = Run(code, application, time.monotonic() - started, _tail(output), "".join(lines)[-OUTPUT_LIMIT:])
    if timed_out and code:
        if application and resourcemanager is not None:
            history.kill(resourcemanager, application)
        raise SubmitError(f"the application did not end within {timeout_s:.0f} s and was stopped", run)
    if code:
        raise SubmitError(f"the application failed (exit code {code}): {_reason(lines)}", run)
    return run


def pi(
    partitions: int,
    *,
    address: str,
    namenode: NameNode,
    progress: Callable[[str], None],
    resourcemanager: ResourceManager | None,
) -> tuple[float, Run]:
    """Estimate pi with a job; its result comes back through HDFS, wherever the driver ran.

    Raises:
        SubmitError: the job failed.
        WebHdfsError: the result can't be read.
    """
    client = WebHdfs(namenode.host, namenode.web_port, user=spark.USER)
    folder = f"/user/{spark.USER}/results/pi-{uuid.uuid4().hex}"
    words = [str(spark.PI_JOB), str(partitions), f"{namenode.uri}{folder}"]
    try:
        run = submit(words, address=address, timeout_s=900, progress=progress, resourcemanager=resourcemanager)
        parts = [name for name in client.names(folder) if name.startswith("part-")]
        result = json.loads(b"".join(client.read(f"{folder}/{name}") for name in parts))
    finally:
        client.delete(folder, recursive=True)
    return result["pi"], Run(run.exit_code, result["application"], run.seconds, run.output, run.log)


def _follow(stream: "IO[str] | None", progress: Callable[[str], None]) -> tuple[str, list[str]]:
    """Read Spark's log to its end; report each change of the application's state."""
    application, state = "", ""
    lines: list[str] = []
    for line in stream or ():
        lines.append(line)
        del lines[:-500]
        if not application and (match := _APPLICATION.search(line)):
            application = match[1]
        if (match := _STATE.search(line)) and match[2] != state:
            state = match[2]
            progress(f"{match[1]} is {state}")
    return application, lines


def _tail(output: "IO[str]") -> str:
    output.seek(0)
    return output.read()[-OUTPUT_LIMIT:]


def _reason(lines: Sequence[str]) -> str:
    """Find the line that tells most: the end of a traceback, else an error in the log, else the last line."""
    said = [line.strip() for line in lines if line.strip() and not re.search(r" (INFO|WARN) ", line)]
    for telling in (r"^(Caused by: )?[\w.]+(Error|Exception)\b", r"Exception|ERROR"):
        if found := [line for line in said if re.search(telling, line)]:
            return found[-1][:400]
    return (said or ["it wrote nothing"])[-1][:400]


def is_local_file(job: str) -> bool:
    """Tell whether a job is named by a path on this machine."""
    return "://" not in job


def check_job(job: str) -> None:
    """Check that a job on this machine is there.

    Raises:
        SubmitError: it is not.
    """
    if is_local_file(job) and not Path(job.removeprefix("file:")).is_file():
        raise SubmitError(f"job={job!r}: no such file on this unit; a file in HDFS is named by its URI, hdfs:///...")
