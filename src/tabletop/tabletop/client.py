"""The client's end of tabletop's API: one request a connection, over a socket.

The daemon is started, detached, if it doesn't answer.
"""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tabletop.codehash import code_hash
from tabletop.errors import TabletopError
from tabletop.locks import locked
from tabletop.paths import Paths
from tabletop.progress import Progress, silent
from tabletop.socketaddress import address_of
from tabletop.stopping import stop_daemon, why_unfit

START_TIMEOUT_S = 30.0
REFUSED = 3
"""The exit status of a daemon that this host keeps from starting; its log ends with the reason."""
REFUSAL_MARK = "can't start: "
_LOG_TAIL_LINES = 12
_PING_S = 10.0
STALE = "stale"
"""The kind of a refusal because the daemon runs other code than the client's, and is free to be replaced."""
NOT_FOUND = "not-found"
"""The kind of a refusal because something named isn't there."""
_POLL_S = 0.05


class DaemonError(TabletopError):
    """The daemon can't be started or went away."""


def root_needed() -> DaemonError:
    """Return the error that says that root alone may do this, and the command line that does it."""
    program = shutil.which(sys.argv[0]) or "tabletop"
    line = shlex.join(["sudo", program, *sys.argv[1:]])
    return DaemonError(f"tabletop's models, machines and network belong to root, so it must run as root: {line}")


class RemoteError(TabletopError):
    """The daemon refused a request; `kind` says of what kind its error was."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Client:
    """Sends requests to the daemon.

    Args:
        paths: where this tabletop lives; its socket is there.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @property
    def socket_path(self) -> Path:
        """Where the daemon listens."""
        return self._paths.run / "api.sock"

    @property
    def log_path(self) -> Path:
        """Where a daemon started by a client writes what it has to say."""
        return self._paths.run / "daemon.log"

    def call(self, method: str, progress: Progress | None = None, **params: Any) -> Any:
        """Send a request, starting the daemon if need be, and return its result.

        A daemon that runs other code than what is on disk now is replaced first, unless it is at something that must
        not be cut short; then it goes on, and says so in a line of progress.

        Args:
            method: name of the method.
            progress: called with each line of progress.
            params: the method's parameters.

        Raises:
            RemoteError: the daemon refused it.
            DaemonError: the daemon can't be started, or went away before it answered.
        """
        connection = self._connect()
        if connection is None:
            self.start()
            connection = self._connect()
            if connection is None:
                raise DaemonError(f"the daemon does not answer at {self.socket_path}.{self._log_tail()}")
        request = {"method": method, "params": params, "code": code_hash()}
        with connection:
            try:
                return self._exchange(connection, request, progress)
            except RemoteError as error:
                if error.kind != STALE:
                    raise
        self._renew(progress or silent)
        return self.request(method, progress, **params)

    def request(self, method: str, progress: Progress | None = None, **params: Any) -> Any:
        """Send a request to the daemon that is there, whatever code it runs, and return its result.

        Raises:
            RemoteError: the daemon refused it.
            DaemonError: there is none, or it went away before it answered.
        """
        connection = self._connect()
        if connection is None:
            raise DaemonError(f"no daemon answers at {self.socket_path}.{self._log_tail()}")
        with connection:
            return self._exchange(connection, {"method": method, "params": params}, progress)

    def running(self) -> bool:
        """Return whether a daemon answers."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Return the process that answers, if one does."""
        connection = self._connect()
        if connection is None:
            return None
        with connection:
            connection.settimeout(_PING_S)
            try:
                return int(self._exchange(connection, {"method": "ping", "params": {}}, None)["pid"])
            except TimeoutError as error:
                raise DaemonError(
                    f"the daemon at {self.socket_path} does not answer: see {self.log_path}, and end it if it hangs."
                ) from error
            except DaemonError:
                return None

    def _renew(self, note: Progress) -> None:
        """Replace the daemon by one that runs the code that is on disk now, if that can be run."""
        with self._alone():
            unfit = why_unfit()
            if unfit is not None:
                note(f"tabletop's code has changed but can't be run ({unfit}): its daemon goes on with the code it has")
                return
            if self.running() and self.request("ping").get("code") == code_hash():
                return  # another client was quicker
            note("tabletop's code has changed: its daemon is replaced; machines run on")
            stop_daemon(self, note)
            self._start()

    def _alone(self) -> AbstractContextManager[int]:
        return locked(self._paths.coming_and_going)

    def start(self) -> bool:
        """Start the daemon, detached from this process; return False if one was running already.

        Raises:
            DaemonError: it did not come up; the text ends with the tail of its log.
        """
        if self.running():
            return False
        if os.geteuid() != 0:
            raise root_needed()
        with self._alone():
            return not self.running() and self._start()

    def _start(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._starting() and time.monotonic() < deadline:
            # Another one comes up, or is about to end.
            if self.running():
                return False
            time.sleep(_POLL_S)
        try:
            self._paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
            log = self.log_path.open("ab")
        except OSError as error:
            raise DaemonError(
                f"{self._paths.run} can't be written to ({error.strerror}): "
                f"make it writable, or set TABLETOP_RUN to another directory."
            ) from error
        with log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tabletop.daemon"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            pid = self.pid()
            if pid == process.pid:
                # It outlives this process, which is not to wait for it.
                process.returncode = 0
                return True
            if pid is not None:
                # Another client was quicker. Ours, were it left alone, might yet come up when that one's has ended.
                process.kill()
                process.wait()
                return False
            if process.poll() is not None and not self._starting():
                if process.returncode == REFUSED and (reason := self._last_error()):
                    raise DaemonError(reason)
                raise DaemonError(
                    f"the daemon ended at its start (exit status {process.returncode}).{self._log_tail()}"
                )
            time.sleep(_POLL_S)
        process.kill()
        process.wait()
        raise DaemonError(f"the daemon did not answer within {START_TIMEOUT_S:.0f} s.{self._log_tail()}")

    def _starting(self) -> bool:
        """Return whether a daemon, such as one that another client started, is there but may not answer yet."""
        try:
            with (self._paths.run / "daemon.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except BlockingIOError:
            return True
        return False

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address_of(self.socket_path) as address:
                connection.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            connection.close()
            return None
        except PermissionError as error:
            connection.close()
            raise root_needed() from error
        return connection

    def _exchange(self, connection: socket.socket, request: dict[str, Any], progress: Progress | None) -> Any:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                for line in answers:
                    answer: dict[str, Any] = json.loads(line)
                    if "progress" in answer:
                        if progress is not None:
                            progress(answer["progress"])
                        continue
                    if "error" in answer:
                        raise RemoteError(answer["error"], answer.get("kind", ""))
                    return answer.get("result")
        except (ConnectionError, json.JSONDecodeError) as error:
            raise DaemonError(
                f"the daemon went away in the midst of its answer ({error}).{self._log_tail()}"
            ) from error
        raise DaemonError(f"the daemon went away before it answered.{self._log_tail()}")

    def _last_error(self) -> str:
        """Return the sentence that a daemon ended with that could not start."""
        with contextlib.suppress(OSError):
            for line in reversed(self.log_path.read_text(errors="replace").splitlines()):
                _, found, reason = line.partition(REFUSAL_MARK)
                if found:
                    return reason
        return ""

    def _log_tail(self) -> str:
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        except OSError:
            lines = []
        if not lines:
            return f" Its log, {self.log_path}, is empty."
        return f" The end of its log, {self.log_path}:\n  " + "\n  ".join(lines)
