"""Ending a daemon, and putting one that runs the present code in its place."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tabletop.client import Client

STOP_TIMEOUT_S = 60.0
"""How long a daemon may take to end, the hooks that it lets come to theirs included."""


def stop_daemon(client: "Client", note: Callable[[str], None], timeout: float = STOP_TIMEOUT_S) -> bool:
    """Stop the daemon, by force if it doesn't end in `timeout` seconds; return whether there was one."""
    pid = client.pid() if client.running() else None
    if pid is None or pid == os.getpid() or pid <= 1:
        return False
    try:
        # A handle on the process, so that its number can't come to mean another one meanwhile.
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        client.request("shutdown")
        if not select.select([handle], [], [], timeout)[0]:
            note(f"the daemon (pid {pid}) did not end within {timeout:.0f} s; it is killed")
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [])
    finally:
        os.close(handle)
    return True


def why_unfit() -> str | None:
    """Return why the code that is on disk now can't be run as a daemon; None if it can."""
    argv = [sys.executable, "-P", "-c", "import tabletop.daemon"]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
