"""``python3 -m iot_charm.flume.recovery_daemon``: runs :class:`~iot_charm.flume.recovery.Recovery` in a loop."""

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from iot_charm.flume.agent import USER
from iot_charm.flume.hdfs import ROOT
from iot_charm.flume.recovery import Recovery
from iot_charm.flume.store import Store, StoreError

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until it is ended, or for one pass; returns the exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout, force=True)
    recovery = Recovery(
        Store(options.web, options.namenode, user=options.user),
        root=options.root,
        unit=options.unit,
        live=lambda: live_invocation(options.service),
        open_for_s=options.open_for,
    )
    since = _remembered(options.memory)
    while True:
        started = int(time.time() * 1000)
        try:
            done = recovery.run(since)
        except StoreError as error:
            logger.warning("HDFS does not answer: %s", error)
            pending = 1
        else:
            pending = len(done.pending)
            if not pending:
                since = started
                options.memory.write_text(f"{since}\n")
        if options.once:
            return 1 if pending else 0
        time.sleep(min(5, options.interval) if pending else options.interval)


def live_invocation(service: str) -> str:
    """Return systemd's identifier of the running agent; empty if it has none, as after its end."""
    shown = subprocess.run(
        ["systemctl", "show", "--property=ActiveState,InvocationID", f"{service}.service"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if values.get("ActiveState") in ("inactive", "failed"):
        return ""
    return values.get("InvocationID", "")


def _remembered(memory: Path) -> int:
    try:
        return int(memory.read_text())
    except (OSError, ValueError):
        return 0


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Finish the files in HDFS that a Flume agent left unfinished.")
    parser.add_argument("--web", required=True, metavar="URL", help="of the NameNode's web server")
    parser.add_argument("--namenode", required=True, type=_address, metavar="HOST:PORT", help="of the NameNode's RPC")
    parser.add_argument("--unit", required=True, help="the unit's name as a file name, as flume-hdfs-0")
    parser.add_argument("--service", required=True, help="the agent's systemd service")
    parser.add_argument("--memory", required=True, type=Path, metavar="FILE", help="where to note what was looked at")
    parser.add_argument("--root", default=ROOT, metavar="DIR", help="directory of the event directories (%(default)s)")
    parser.add_argument("--user", default=USER, help="HDFS user to act as (%(default)s)")
    parser.add_argument(
        "--open-for", type=float, default=3600, metavar="S", help="longest that a file is open (%(default)s)"
    )
    parser.add_argument("--interval", type=float, default=20, metavar="S", help="between two looks (%(default)s)")
    parser.add_argument("--once", action="store_true", help="look once; exit 1 if something is left to do")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
