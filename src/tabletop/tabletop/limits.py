"""Kernel settings that machines need, and putting them back."""

import json
from pathlib import Path

from tabletop.locks import locked
from tabletop.processes import boot_id
from tabletop.progress import Progress, silent

_LEAST = {
    # Every systemd takes a dozen instances; the kernel's default of 128 is meant for one user's desktop.
    "fs/inotify/max_user_instances": 4096,
    "fs/inotify/max_user_watches": 524288,
    "net/ipv4/ip_forward": 1,
}
_RECORD = Path("/run/tabletop.sysctl.json")
"""What the settings were before; one file for all tabletops of the host."""
_KERNEL = Path("/proc/sys")


def raise_limits(progress: Progress = silent, *, kernel: Path = _KERNEL, record: Path = _RECORD) -> None:
    """Raise the settings that are lower than machines need, and note what they were."""
    low = {name: least for name, least in _LEAST.items() if int((kernel / name).read_text()) < least}
    if not low:
        return
    with locked(record.with_suffix(".lock")):
        kept = _kept(record)
        for name, least in low.items():
            before = int((kernel / name).read_text())
            kept.setdefault(name, before)
            record.write_text(json.dumps({"boot": boot_id(), "before": kept}))
            (kernel / name).write_text(str(least))
            progress(f"Host: {name.replace('/', '.')} raised from {before} to {least}, until the last model is gone")


def restore_limits(*, kernel: Path = _KERNEL, record: Path = _RECORD) -> list[str]:
    """Put back what :func:`raise_limits` changed since the last boot.

    Returns:
        What was put back, for a person to read.
    """
    with locked(record.with_suffix(".lock")):
        restored: list[str] = []
        for name, before in _kept(record).items():
            (kernel / name).write_text(str(before))
            restored.append(f"kernel setting {name.replace('/', '.')} back to {before}")
        record.unlink(missing_ok=True)
    record.with_suffix(".lock").unlink(missing_ok=True)
    return restored


def _kept(record: Path) -> dict[str, int]:
    try:
        noted = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(noted["before"]) if noted["boot"] == boot_id() else {}
