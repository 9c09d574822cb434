"""Machines of another architecture than the host's: the kernel hands their programs to qemu (binfmt_misc)."""

from pathlib import Path

from tabletop.errors import TabletopError
from tabletop.programs import ProgramError, run
from tabletop.progress import Progress, silent
from tabletop.version import host_architecture

PACKAGES = ("qemu-user-static", "arch-test")
"""The distribution's packages that the host needs beside those for machines of its own architecture."""
_QEMU = {"amd64": "x86_64", "arm64": "aarch64"}
ARCHITECTURES = tuple(_QEMU)
"""dpkg's names of the architectures that machines can have."""
_KERNEL = Path("/proc/sys/fs/binfmt_misc")
_DEFINITIONS = Path("/usr/lib/binfmt.d")
"""Where the distribution's qemu says how it is to be registered (binfmt.d(5))."""


def is_emulated(architecture: str) -> bool:
    """Whether programs of an architecture need an emulator on this host."""
    return architecture != host_architecture()


def check_architecture(architecture: str) -> None:
    """See that there can be machines of an architecture.

    Raises:
        TabletopError: there can't.
    """
    if architecture not in ARCHITECTURES:
        raise TabletopError(f"arch={architecture}: machines are {' or '.join(ARCHITECTURES)}")


def ensure_emulation(
    architecture: str, progress: Progress = silent, *, kernel: Path = _KERNEL, definitions: Path = _DEFINITIONS
) -> None:
    """Have the kernel run an architecture's programs through qemu, in every container alike.

    What is registered stays until the host's next boot, as it does where the host's own systemd registers it.

    Args:
        architecture: dpkg's name of it; nothing is done for the host's own.
        progress: is told what is changed on the host.
        kernel: where binfmt_misc is mounted, or will be.
        definitions: see ``_DEFINITIONS``.

    Raises:
        TabletopError: the host lacks something; the text says what, and what to do.
    """
    if not is_emulated(architecture):
        return
    check_architecture(architecture)
    name = f"qemu-{_QEMU[architecture]}"
    if (kernel / name).exists():
        _check_entry(kernel / name, architecture)
        return
    definition = definitions / f"{name}.conf"
    if not definition.is_file():
        raise TabletopError(
            f"{architecture} machines need the packages {' '.join(PACKAGES)} on this host: "
            f"run `tabletop bootstrap --arch {architecture}`."
        )
    _register(definition, architecture, progress, kernel)
    _check_entry(kernel / name, architecture)


def _register(definition: Path, architecture: str, progress: Progress, kernel: Path) -> None:
    line = next((line for line in definition.read_text().splitlines() if line.startswith(":")), "")
    try:
        if not (kernel / "register").exists():
            run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(kernel)])
        (kernel / "register").write_text(line)
    except FileExistsError:
        return  # another process was faster
    except (OSError, ProgramError) as error:
        raise TabletopError(
            f"{architecture} programs can't be run here, for the kernel takes no emulator for them ({error}): "
            f"run `modprobe binfmt_misc` and try again; if this host is a container itself, "
            f"install {PACKAGES[0]} on the host that it runs on."
        ) from error
    progress(f"Host: {architecture} programs run through qemu from now on ({definition.stem}), until the next boot")


def _check_entry(entry: Path, architecture: str) -> None:
    """See that an entry works in containers: the kernel must hold the emulator open (flag F, binfmt-misc.rst)."""
    lines = entry.read_text().splitlines()
    flags = next((line.partition(":")[2].strip() for line in lines if line.startswith("flags:")), "")
    if lines[:1] != ["enabled"] or "F" not in flags:
        raise TabletopError(
            f"{architecture} programs can't be run in containers here, for {entry} is "
            f"{lines[0] if lines else 'empty'} and has the flags {flags or 'none'} instead of F: "
            f"remove it with `echo -1 > {entry}` and try again."
        )
