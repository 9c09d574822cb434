"""Plots of tables as inline SVG."""

from collections.abc import Sequence
from html import escape

from iot_lake.table import Table

WIDTH, HEIGHT = 640, 220
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 70, 14, 14, 46

SMALL_WIDTH, SMALL_HEIGHT = 206, 96

MOST_BARS = 60
MOST_SERIES = 24

BLUE = "#2f6fa8"


def plot(table: Table) -> str:
    """Draw a table, if its shape says how.

    - two columns, a name and a number: a bar a row;
    - three columns, a position, a name and a number: a small line plot a name, since units differ;
    - anything else isn't drawn: an empty text is returned.
    """
    if not table.rows:
        return ""
    if len(table.columns) == 2 and (numbers := table.numbers(1)) is not None and len(table.rows) <= MOST_BARS:
        return bars([row[0] for row in table.rows], numbers, table.columns[1])
    if len(table.columns) == 3 and (numbers := table.numbers(2)) is not None:
        series: dict[str, list[tuple[str, float]]] = {}
        for row, number in zip(table.rows, numbers, strict=True):
            series.setdefault(row[1], []).append((row[0], number))
        if len(series) <= MOST_SERIES:
            return '<div class="plots">' + "".join(line(name, points) for name, points in series.items()) + "</div>"
    return ""


def bars(labels: Sequence[str], numbers: Sequence[float], unit: str) -> str:
    """Draw a bar a label, from zero."""
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    span = (high - low) or 1.0
    inner_width, inner_height = WIDTH - MARGIN_LEFT - MARGIN_RIGHT, HEIGHT - MARGIN_TOP - MARGIN_BOTTOM
    step = inner_width / len(numbers)

    def y(number: float) -> float:
        return MARGIN_TOP + inner_height * (high - number) / span

    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(unit)}">']
    for tick in (low, (low + high) / 2, high):
        parts.append(
            f'<line x1="{MARGIN_LEFT}" x2="{WIDTH - MARGIN_RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>'
            f'<text x="{MARGIN_LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{tick:,.6g}</text>'
        )
    for index, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        x = MARGIN_LEFT + step * index
        top, bottom = y(max(number, 0.0)), y(min(number, 0.0))
        middle = x + step / 2
        below = HEIGHT - MARGIN_BOTTOM + 12
        parts.append(
            f'<rect x="{x + step * 0.15:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" height="{bottom - top:.1f}" '
            f'fill="{BLUE}"><title>{escape(label)}: {number:,.6g}</title></rect>'
            f'<text x="{middle:.1f}" y="{below}" text-anchor="end" transform="rotate(-25 {middle:.1f} {below})">'
            f"{escape(_short(label))}</text>"
        )
    return "".join([*parts, "</svg>"])


def line(name: str, points: Sequence[tuple[str, float]]) -> str:
    """Draw one series over its positions, in their order."""
    numbers = [number for _, number in points]
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0
    top, bottom, left, right = 26, SMALL_HEIGHT - 18, 8, SMALL_WIDTH - 8
    step = (right - left) / (len(points) - 1) if len(points) > 1 else 0.0
    start = left if len(points) > 1 else (left + right) / 2
    places = [
        (start + step * index, bottom - (bottom - top) * ((number - low) / span if high > low else 0.5))
        for index, number in enumerate(numbers)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"><title>{escape(position)}: {number:,.6g}</title></circle>'
        for (x, y), (position, number) in zip(places, points, strict=True)
    )
    bounds = f"{low:,.6g} to {high:,.6g}" if high > low else f"{low:,.6g}"
    return (
        f'<svg class="plot small" viewBox="0 0 {SMALL_WIDTH} {SMALL_HEIGHT}" role="img" aria-label="{escape(name)}">'
        f'<text x="{left}" y="11" class="name">{escape(_short(name, 34))}</text>'
        f'<polyline points="{path}" fill="none" stroke="{BLUE}"/><g fill="{BLUE}">{dots}</g>'
        f'<text x="{left}" y="{SMALL_HEIGHT - 4}">{bounds}</text></svg>'
    )


def _short(label: str, most: int = 22) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"
