"""System users that daemons run as."""

from collections.abc import Iterable
from pathlib import Path

from charmlibs import passwd

from iot_charm.files import ensure_directory


def ensure_system_user(name: str, *, home: Path, groups: Iterable[str] = ()) -> bool:
    """Make a system user without a login shell, its group of the same name, its home and its further groups.

    Args:
        name: of the user.
        home: its home directory, made and owned by it.
        groups: further groups, made where they are missing.

    Returns:
        Whether anything changed.
    """
    changed = False
    if not passwd.user_exists(name):
        if not passwd.group_exists(name):
            passwd.add_group(name, system_group=True)
        passwd.add_user(  # noqa: S604 - the shell is a path, not a flag
            name,
            shell="/usr/sbin/nologin",
            system_user=True,
            primary_group=name,
            home_dir=str(home),
            create_home=False,
        )
        changed = True
    for group in groups:
        found = passwd.group_exists(group) or passwd.add_group(group, system_group=True)
        if name not in found.gr_mem:
            passwd.add_user_to_group(name, group)
            changed = True
    return ensure_directory(home, owner=name, group=name) or changed
