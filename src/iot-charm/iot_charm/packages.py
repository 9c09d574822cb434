"""Packages of the distribution."""

import logging

from charmlibs import apt

from iot_charm import progress

logger = logging.getLogger(__name__)


def ensure_packages(*names: str) -> bool:
    """Install those packages that are missing; without any, apt is not called at all.

    Returns:
        Whether anything was installed.

    Raises:
        apt.PackageError: a package can't be had.
    """
    missing = [name for name in names if not _is_installed(name)]
    if not missing:
        return False
    progress.announce(f"Installing {', '.join(missing)}")
    try:
        apt.add_package(missing)
    except apt.PackageError as error:
        # The lists of a machine that was set up a while ago name versions that the archive no longer has.
        logger.info("refreshing the package lists after: %s", error)
        apt.add_package(missing, update_cache=True)
    return True


def _is_installed(name: str) -> bool:
    try:
        apt.DebianPackage.from_installed_package(name)
    except apt.PackageNotFoundError:
        return False
    return True
