"""The virtual environment of a charm: its requirements are installed once for all charms that share them."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tabletop.elf import machine_code
from tabletop.emulation import is_emulated
from tabletop.errors import TabletopError
from tabletop.locks import locked
from tabletop.packing.archive import folder_entries, write_archive
from tabletop.packing.errors import PackError

PYTHON = Path("/usr/bin/python3")
"""The Python that machines have: they are built from this host's own package sources."""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The kernel's names of architectures, as they stand in the names of wheels."""
_PROBE = """\
import sys, sysconfig
print("%d.%d.%d" % sys.version_info[:3], sys.implementation.cache_tag, sysconfig.get_platform())
"""


@cache
def python() -> tuple[str, str]:
    """Return the version of `PYTHON`, and a tag that names all that compiled code depends on.

    Raises:
        PackError: it isn't there.
    """
    try:
        done = subprocess.run([PYTHON, "-I", "-S", "-c", _PROBE], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PackError(f"{PYTHON} doesn't work ({error}); install the package python3") from error
    version, *rest = done.stdout.split()
    return version, "-".join((version, *rest))


def _glibc() -> str:
    """Return the version of the host's C library, such as `2_36`, which its machines have too."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or "glibc 2.28").rpartition(" ")[2].replace(".", "_")


def site_packages() -> str:
    """Return where packages are, below `venv/`."""
    version, _ = python()
    return f"lib/python{version.rpartition('.')[0]}/site-packages"


def python_tag(architecture: str) -> str:
    """Return a tag that names all that compiled code depends on, for the Python of machines of an architecture.

    Raises:
        PackError: nothing is known of the architecture.
    """
    tag = python()[1]
    if not is_emulated(architecture):
        return tag
    if architecture not in _MACHINES:
        raise PackError(f"can't pack for {architecture}: packages come for {' and '.join(_MACHINES)}")
    return f"{tag.rpartition('-')[0]}-{_MACHINES[architecture]}"


def requirements_key(files: Sequence[Path], architecture: str) -> str:
    """Return what names an installation of requirements: their text, and the Python they are for."""
    digest = hashlib.sha256(python_tag(architecture).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def install(files: Sequence[Path], architecture: str, cache_dir: Path, progress: Callable[[str], None]) -> Path:
    """Return an archive of the packages of requirements files, compiled, where a charm has them.

    It is made if it isn't in the cache. Bytecode is the same on all architectures.

    Raises:
        PackError: they can't be installed; the text ends with what uv said, or names what isn't for the architecture.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    place = cache_dir / f"{requirements_key(files, architecture)}.zip"
    with locked(cache_dir / "lock"):
        if place.is_file():
            return place
        progress(
            f"installing {', '.join(path.name for path in files) or 'no requirements'} for {python_tag(architecture)}"
        )
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix="new-") as temporary:
            fresh = Path(temporary)
            if files:
                _uv_install(files, architecture, fresh)
                _check_machine_code(fresh, architecture)
            # Commands are no use to a charm; charmcraft leaves them out too.
            shutil.rmtree(fresh / "bin", ignore_errors=True)
            (fresh / ".lock").unlink(missing_ok=True)
            compile_all(fresh)
            write_archive(place, folder_entries(fresh, f"venv/{site_packages()}/"))
    return place


def compile_all(folder: Path) -> None:
    """Compile what is below a folder to bytecode that is never checked against its source at run time.

    Raises:
        PackError: a file isn't valid Python.
    """
    command = [PYTHON, "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    # The folder is stripped from the paths in tracebacks, so that what is packed doesn't depend on where.
    done = subprocess.run([*command, "-s", folder, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackError(f"can't compile: {(done.stdout + done.stderr).strip()}")


def _uv_install(files: Sequence[Path], architecture: str, target: Path) -> None:
    import uv

    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--link-mode", "copy"]
    command += ["--python", str(PYTHON), "--target", str(target)]
    if is_emulated(architecture):
        command += ["--python-platform", f"{_MACHINES[architecture]}-manylinux_{_glibc()}"]
    for path in files:
        command += ["-r", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TabletopError(f"can't run uv: {error}") from error
    if done.returncode:
        raise PackError(f"{', '.join(map(str, files))}: can't be installed: {done.stderr.strip()}")


def _check_machine_code(folder: Path, architecture: str) -> None:
    """See that no package was built for this host's architecture for want of a wheel for the wanted one."""
    for path, found in machine_code(folder):
        if found != architecture:
            raise PackError(
                f"{path.relative_to(folder)}: is machine code for {found}, not {architecture}: "
                f"there is no wheel of its package for {architecture}, or the requirements don't hold its hash"
            )
