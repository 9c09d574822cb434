"""What Zeppelin calls a table: lines of cells between tabs, the first line being the names of the columns."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every row has a cell for each column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def numbers(self, column: int) -> list[float] | None:
        """Return a column's cells as numbers, or None if one of them is none."""
        try:
            found = [float(row[column]) for row in self.rows]
        except ValueError:
            return None
        return found if all(math.isfinite(number) for number in found) else None


def parse(data: str) -> Table:
    """Read the data of a TABLE output; short rows are filled up, long ones cut."""
    # Zeppelin shows what follows an empty line below the table, as text.
    lines = data.strip("\n").split("\n\n", 1)[0].split("\n")
    columns = tuple(lines[0].split("\t"))
    rows = (tuple((line.split("\t") + [""] * len(columns))[: len(columns)]) for line in lines[1:])
    return Table(columns, tuple(rows))
