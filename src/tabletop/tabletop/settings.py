"""What `tabletop bootstrap` was told and later commands must know."""

from collections.abc import Sequence

from tabletop.paths import Paths


def image_packages(paths: Paths) -> tuple[str, ...]:
    """Return the packages that the base image is to have beyond what every machine needs."""
    try:
        return tuple((paths.state / "image-packages").read_text().split())
    except FileNotFoundError:
        return ()


def remember_image_packages(paths: Paths, packages: Sequence[str]) -> None:
    """Note the packages for machines that are made from now on."""
    paths.state.mkdir(parents=True, exist_ok=True)
    file = paths.state / "image-packages"
    draft = file.with_suffix(".new")
    draft.write_text("".join(f"{name}\n" for name in packages))
    draft.replace(file)
