"""The base images in the cache."""

import argparse

from tabletop.commands import Command
from tabletop.format import note, out, table
from tabletop.session import Session


class Images(Command):
    """`images`."""

    notes = """\
An image is unused when no machine of any tabletop that shares the cache has it, and none would be made of it now;
`bootstrap` and `destroy` remove those too. One that is less than an hour old is left alone."""
    examples = ("images", "images --prune")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--prune", action="store_true", help="remove the unused ones")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List them, or remove what is of no use any more."""
        from tabletop.image_store import stored_images

        if args.prune:
            tell_pruned(session)
            return
        rows = [
            (image.name, f"{image.size() / 1e6:.0f} MB", _use(image.machines, current=image.current))
            for image in stored_images(session.paths)
        ]
        for line in table(("IMAGE", "SIZE", "USED BY"), rows, right=(1,)):
            out(line)


def tell_pruned(session: Session) -> None:
    """Remove the images that nothing uses, and say which and how large they were."""
    from tabletop.image_store import prune_images

    for name, size in prune_images(session.paths):
        note(f"removed base image {name}, which nothing uses: {size / 1e6:.0f} MB")


def _use(machines: tuple[str, ...], *, current: bool) -> str:
    new = ("new machines",) if current else ()
    return ", ".join([*new, *machines]) or "nothing"
