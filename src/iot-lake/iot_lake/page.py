"""An executed note as one self-contained HTML page."""

from datetime import datetime
from html import escape

from iot_lake import table
from iot_lake.note import Note, Output, Paragraph
from iot_lake.plot import plot
from iot_lake.sanitise import sanitise

MOST_ROWS = 1000
"""Rows of a table that the page shows."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #f4f5f7; margin: 0; }
main { max-width: 960px; margin: 0 auto; padding: 24px 16px; }
section { background: #fff; border: 1px solid #dde1e6; border-radius: 4px; margin: 0 0 16px; padding: 12px 16px; }
header { display: flex; justify-content: space-between; gap: 16px; align-items: baseline; }
section h2.title { font-size: 16px; margin: 0; }
.status { font-size: 12px; color: #667; white-space: nowrap; }
.FINISHED b { color: #2b7a3d; } .ERROR b, .ABORT b { color: #b3261e; }
pre { overflow-x: auto; margin: 8px 0; font: 13px/1.45 ui-monospace, monospace; }
pre.code { background: #f7f8fa; border-left: 3px solid #2f6fa8; padding: 8px 12px; }
.forms { font-size: 13px; background: #fffbea; padding: 4px 12px; margin: 8px 0; }
.scroll { max-height: 420px; overflow: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13px; } th, td { border: 1px solid #dde1e6; padding: 3px 10px; }
th { background: #f0f2f5; position: sticky; top: 0; text-align: left; } td.number { text-align: right; }
svg.plot { width: 100%; max-width: 640px; font: 10px system-ui, sans-serif; fill: #444; }
svg.small { width: 206px; border: 1px solid #eef0f3; } svg .grid { stroke: #e3e6ea; } svg .name { font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 8px; }
footer { color: #667; font-size: 12px; }
"""


def render(note: Note, *, rendered: datetime) -> str:
    """Render a note with what its last run left.

    Args:
        note: as exported.
        rendered: the time to put into the footer.
    """
    body = "\n".join(_paragraph(paragraph) for paragraph in note.paragraphs)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(note.name)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(note.name)}</h1>
{body}
<footer>Rendered {rendered:%Y-%m-%d %H:%M:%S %Z} from the note's last run.</footer>
</main>
</body>
</html>
"""


def duration(seconds: float) -> str:
    """Say how long a run took, as Zeppelin does: ``2 sec``, ``1 min 5 sec``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "sec"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def _paragraph(paragraph: Paragraph) -> str:
    took = "" if paragraph.seconds is None else f" &middot; took {duration(paragraph.seconds)}"
    finished = "" if paragraph.finished is None else f" &middot; {paragraph.finished:%Y-%m-%d %H:%M:%S}"
    status = escape(paragraph.status)
    parts = [
        f'<section class="{status}">',
        f'<header><h2 class="title">{escape(paragraph.title)}</h2>'
        f'<span class="status"><b>{status}</b>{took}{finished}</span></header>',
    ]
    if paragraph.shows_code:
        name = f"%{escape(paragraph.interpreter)}\n" if paragraph.interpreter else ""
        parts.append(f'<pre class="code">{name}{escape(paragraph.code)}</pre>')
    if paragraph.forms:
        fields = " &nbsp; ".join(
            f"{escape(name)}: <b>{escape(value) or '(empty)'}</b>" for name, value in paragraph.forms
        )
        parts.append(f'<p class="forms">{fields}</p>')
    parts += [_output(output) for output in paragraph.outputs]
    return "\n".join([*parts, "</section>"])


def _output(output: Output) -> str:
    if output.kind == "TABLE":
        return _table(output.data)
    if output.kind == "HTML":
        return f"<div>{sanitise(output.data)}</div>"
    return f"<pre>{escape(output.data)}</pre>" if output.data.strip() else ""


def _table(data: str) -> str:
    found = table.parse(data)
    numeric = {index for index in range(len(found.columns)) if found.rows and found.numbers(index) is not None}
    head = "".join(f"<th>{escape(name)}</th>" for name in found.columns)
    rows = "".join(f"<tr>{_cells(row, numeric)}</tr>" for row in found.rows[:MOST_ROWS])
    cut = f"<p>{len(found.rows) - MOST_ROWS} more rows</p>" if len(found.rows) > MOST_ROWS else ""
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'{plot(found)}<div class="scroll">{body}</div>{cut}'


def _cells(row: tuple[str, ...], numeric: set[int]) -> str:
    return "".join(
        f'<td class="number">{escape(cell)}</td>' if index in numeric else f"<td>{escape(cell)}</td>"
        for index, cell in enumerate(row)
    )
