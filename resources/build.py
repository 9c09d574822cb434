#!/usr/bin/env python3
"""Build the resources of the charms: tarballs of Hadoop, Flume, Spark and Zeppelin, from pinned artifacts.

A resource is described by a folder beside this file: resource.toml (version, root, archive), with a pom.xml whose
runtime dependencies Maven copies, or a requirements.txt that uv or pip installs, and an overlay/ copied on top.
Tarballs are kept under IOT_CACHE (default /var/cache/iot-analytics), by a hash of that folder, together with what
Maven and uv downloaded; the tarball that is asked for is linked into build/resources/.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from builder import recipe, store  # noqa: E402 - the folder of this file is not a package that is installed
from builder.errors import ResourceError  # noqa: E402

DEFAULT_CACHE = "/var/cache/iot-analytics"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; returns the exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    kept = store.Store(options.cache)
    try:
        chosen = [recipe.load(options.recipes, name) for name in options.names or recipe.names(options.recipes)]
        if options.list:
            _list(chosen, kept)
            return 0
        for one in chosen:
            path = kept.ensure(one, write_checksums=options.write_checksums)
            destination = options.output / one.archive
            store.link(path, destination)
            sys.stdout.write(f"{destination}\n")
    except ResourceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was downloaded stays in the cache\n")
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="build.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a resource; all of them if none is named")
    parser.add_argument("--list", action="store_true", help="say which resources there are and which are built")
    parser.add_argument(
        "--write-checksums",
        action="store_true",
        help="resolve again and write checksums.txt (SHA-256 of each jar) anew, after a change of versions",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("IOT_CACHE") or DEFAULT_CACHE),
        help="default: $IOT_CACHE, now %(default)s",
    )
    parser.add_argument("--output", type=Path, default=HERE.parent / "build" / "resources", help="default: %(default)s")
    parser.add_argument("--recipes", type=Path, default=HERE, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _list(chosen: Sequence[recipe.Recipe], kept: store.Store) -> None:
    for one in chosen:
        state = "built" if kept.path(one).is_file() else "not built"
        sys.stdout.write(f"{one.name:<12} {one.version:<10} {one.archive:<16} {state}\n")


if __name__ == "__main__":
    sys.exit(main())
