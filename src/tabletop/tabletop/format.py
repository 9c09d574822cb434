"""What the command line writes: results to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast


def out(text: str) -> None:
    """Write a line of result."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write a line of progress, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, such as `1 task` or `2 tasks`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def to_yaml(value: Any) -> str:
    """Format a value as YAML, without a newline at its end."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes text of many lines as a block, as Juju does."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return cast("Any", dumper).represent_scalar(
            "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
        )

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, default_flow_style=False, sort_keys=False, allow_unicode=True).rstrip("\n")


def to_json(value: Any) -> str:
    """Format a value as one line of JSON."""
    return json.dumps(value, separators=(",", ":"))


def result(value: Any, form: str) -> None:
    """Write a structured result as `json` or `yaml`."""
    out(to_json(value) if form == "json" else to_yaml(value))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> list[str]:
    """Lay rows out in columns two spaces apart.

    Args:
        header: the titles of the columns.
        rows: the cells; a row may be shorter than the header.
        right: the columns whose cells stand at the right.
    """
    at_right = set(right)
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max((len(row[column]) for row in cells if column < len(row)), default=0) for column in range(len(header))]
    lines: list[str] = []
    for row in cells:
        padded = [
            cell.rjust(widths[column]) if column in at_right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines
