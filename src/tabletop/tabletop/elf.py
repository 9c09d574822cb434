"""What a file of machine code says of itself: the header of the Executable and Linkable Format (elf(5))."""

from collections.abc import Iterator
from pathlib import Path

HEADER_BYTES = 20
"""As much of a file as :func:`architecture_of` needs."""
_MAGIC = b"\x7fELF"
_LITTLE_ENDIAN = 1
_MACHINES = {3: "i386", 40: "armhf", 62: "amd64", 183: "arm64", 243: "riscv64"}


def architecture_of(header: bytes) -> str | None:
    """Return dpkg's name of the architecture that a file's code is for; None if the file holds none.

    Args:
        header: the file's first bytes.
    """
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    order = "little" if header[5] == _LITTLE_ENDIAN else "big"
    machine = int.from_bytes(header[18:20], order)
    return _MACHINES.get(machine, f"machine {machine}")


def machine_code(folder: Path) -> Iterator[tuple[Path, str]]:
    """Return the files of machine code below a folder, each with its architecture."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                architecture = architecture_of(file.read(HEADER_BYTES))
            if architecture is not None:
                yield path, architecture
