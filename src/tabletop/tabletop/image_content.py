"""What a base image has beyond its packages: settings that make a machine quick to boot and small."""

import re
import shutil
from pathlib import Path

from tabletop.emulation import is_emulated
from tabletop.programs import run
from tabletop.recipe import Recipe, certificates_in

PACKAGES_MOUNT = "/var/cache/apt/tabletop"
"""Where machines see the packages that any of them has downloaded."""

# Nothing here is of use in a container that has its network from outside and no console.
_MASKED = (
    "getty.target",
    "console-getty.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "man-db.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "motd-news.timer",
    "dpkg-db-backup.timer",
)

_DPKG = """\
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/lintian/*
force-unsafe-io
"""

_APT_BUILD = """\
Acquire::Languages "none";
Acquire::GzipIndexes "true";
APT::Install-Recommends "false";
"""

_APT = """\
// A machine: indexes stay compressed, packages that were downloaded are kept and given to the other machines.
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Dir::Cache::pkgcache "";
Binary::apt::APT::Keep-Downloaded-Packages "true";
DPkg::Lock::Timeout "300";
DPkg::Pre-Install-Pkgs { "/usr/lib/tabletop/share-packages"; };
"""

# Hard links: a machine may clean its own directory at any time without taking a package from another, and a package
# appears in the others' directories whole or not at all.
_SHARE = f"""\
#!/bin/sh
# Gives the packages that apt has just downloaded (their names come on standard input) to all other machines.
set --
while read -r package; do
    case "$package" in {PACKAGES_MOUNT}/*/*.deb) set -- "$@" "$package" ;; esac
done
[ $# -gt 0 ] || exit 0
for directory in {PACKAGES_MOUNT}/*/; do
    ln -- "$@" "$directory" 2>/dev/null
done
exit 0
"""

_CREDENTIALS = re.compile(r"^((?:Load|Set|Import)Credential(?:Encrypted)?)=", re.MULTILINE)

_FILES = {
    "etc/apt/apt.conf.d/90tabletop": _APT,
    "etc/systemd/journald.conf.d/tabletop.conf": "[Journal]\nRuntimeMaxUse=16M\nSystemMaxUse=64M\n",
    "etc/systemd/system.conf.d/tabletop.conf": "[Manager]\nDefaultEnvironment=DEBIAN_FRONTEND=noninteractive\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/environment": "LANG=C.UTF-8\nDEBIAN_FRONTEND=noninteractive\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/hostname": "",
    "etc/resolv.conf": "",
    "etc/machine-id": "",
}


def write_apt_settings(directory: Path, recipe: Recipe) -> Path:
    """Write what apt is told while it fetches and installs the image's packages, for mmdebstrap."""
    file = directory / "apt.conf"
    file.write_text(_APT_BUILD + recipe.apt)
    return file


def write_dpkg_settings(directory: Path) -> Path:
    """Write what dpkg is told, in the build and ever after, for mmdebstrap."""
    file = directory / "dpkg.cfg"
    file.write_text(_DPKG)
    return file


def furnish(root: Path, recipe: Recipe) -> None:
    """Put settings, certificates and keys into an image whose packages are installed."""
    for name, text in _FILES.items():
        _write(root / name, text.encode())
    # What mmdebstrap was told for the build alone; the rest of it stands in the machine's own file.
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    if recipe.apt:
        _write(root / "etc/apt/apt.conf.d/91host", recipe.apt.encode())
    if recipe.pip:
        _write(root / "etc/pip.conf", recipe.pip.encode())
    _write(root / "usr/lib/tabletop/share-packages", _SHARE.encode(), mode=0o755)
    for path, content in recipe.files.items():
        target = root / path.lstrip("/")
        if not target.exists():
            _write(target, content, mode=0o600 if "/auth.conf" in path else 0o644)
    _trust(root, recipe)
    if is_emulated(recipe.architecture):
        do_without_credentials(root)
    run(["systemctl", f"--root={root}", "mask", *_MASKED])
    # Nobody logs in: it starts when something asks for it, not at every boot.
    wanted = root / "etc/systemd/system/multi-user.target.wants/systemd-logind.service"
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.symlink_to("/dev/null")
    run(["systemctl", f"--root={root}", "set-default", "multi-user.target"])
    run(["chroot", str(root), "debconf-set-selections"], stdin="debconf debconf/frontend select Noninteractive\n")
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    shutil.rmtree(root / "var/log/journal", ignore_errors=True)
    (root / "var/log/journal").mkdir()


def do_without_credentials(root: Path) -> None:
    """Take their credentials from systemd's own services, which else fail under qemu and leave the boot incomplete.

    systemd sets credentials up in a mount namespace of its own, with calls that qemu-user refuses as invalid. A
    machine has none to hand on to them.
    """
    for unit in sorted((root / "usr/lib/systemd/system").glob("*.service")):
        if unit.is_symlink():
            continue
        found = dict.fromkeys(_CREDENTIALS.findall(unit.read_text()))
        if found:
            reset = "".join(f"{name}=\n" for name in found)
            _write(root / f"etc/systemd/system/{unit.name}.d/tabletop.conf", f"[Service]\n{reset}".encode())


def _trust(root: Path, recipe: Recipe) -> None:
    """Make the image trust what the host trusts: local certificates, and what the host's bundle has beyond ours."""
    # The package ca-certificates has made it when it was installed; to make it anew takes long under emulation.
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    known = set(certificates_in(bundle.read_text()))
    local = root / "usr/local/share/ca-certificates"
    for file in local.rglob("*.crt"):
        known.update(certificates_in(file.read_text(errors="replace")))
    further = [certificate for certificate in certificates_in(recipe.certificates) if certificate not in known]
    for number, certificate in enumerate(further):
        _write(local / f"host-{number}.crt", certificate.encode())
    if any(local.rglob("*.crt")):
        run(["chroot", str(root), "update-ca-certificates"])


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_bytes(content)
    path.chmod(mode)
