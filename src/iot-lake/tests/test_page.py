from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from iot_lake import note, page
from iot_lake.plot import plot
from iot_lake.sanitise import sanitise
from iot_lake.table import parse

NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)


class Outline(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.classes = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.classes += (dict(attrs).get("class") or "").split()

    def handle_data(self, data):
        self.text += data


def rendered(*messages, **fields):
    paragraph = {
        "title": "T",
        "text": "%python\nprint('<b>')",
        "status": "FINISHED",
        "results": {"msg": list(messages)},
    }
    return page.render(note.parse({"name": "N", "paragraphs": [paragraph | fields]}), rendered=NOW)


def test_a_page_shows_title_code_status_duration_and_output():
    text = rendered(
        {"type": "TEXT", "data": "drwxr-xr-x <x>"},
        dateStarted="2026-11-24 06:56:57.000",
        dateFinished="2026-11-24 06:58:02.000",
    )
    found = Outline(text)
    assert "print('<b>')" in found.text
    assert "drwxr-xr-x <x>" in found.text
    assert "FINISHED" in found.text
    assert "took 1 min 5 sec" in text.replace("&middot; ", "")
    assert "Rendered 2026-11-24 07:00:00 UTC" in found.text


def test_nothing_of_a_note_becomes_markup_of_the_page():
    hostile = "<script>alert(1)</script>"
    text = rendered(
        {"type": "TEXT", "data": hostile},
        {"type": "HTML", "data": f"<p onclick=x>{hostile}</p><img src=x onerror=y>"},
        {"type": "TABLE", "data": f"{hostile}\t{hostile}\n{hostile}\t1"},
        title=hostile,
        text=hostile,
        status='"><script>',
    )
    assert "script" not in Outline(text).tags
    assert "onclick" not in text
    assert "img" not in Outline(text).tags


def test_a_page_needs_nothing_from_elsewhere():
    text = rendered({"type": "TABLE", "data": "a\tb\n1\t2"})
    assert "src=" not in text
    assert "<link" not in text


def test_a_table_is_a_table_and_a_plot():
    found = Outline(rendered({"type": "TABLE", "data": "sensor\treadings\nlight\t10\nheat\t20"}))
    assert found.tags.count("tr") == 3
    assert found.classes.count("number") == 2
    assert found.tags.count("rect") == 2


def test_a_form_shows_its_values():
    forms = {"node": {"name": "node", "defaultValue": ""}, "sent": {"name": "sent", "defaultValue": "0"}, "none": {}}
    text = Outline(rendered(settings={"forms": forms, "params": {"node": "<n>"}})).text
    assert "node: <n>" in text
    assert "sent: 0" in text
    assert "none: (empty)" in text


def test_a_long_table_is_cut_and_says_so():
    data = "a\tb\tc\td\n" + "1\t2\t3\t4\n" * (page.MOST_ROWS + 5)
    assert "5 more rows" in Outline(rendered({"type": "TABLE", "data": data})).text


def test_markdown_comes_as_html_and_its_source_stays_hidden():
    text = rendered(
        {"type": "HTML", "data": '<div class="markdown-body"><h2>Hi</h2></div>'},
        config={"editorHide": True},
        text="%md\n## Hi",
    )
    assert "<h2>Hi</h2>" in text
    assert "## Hi" not in text


@pytest.mark.parametrize(
    ("html", "clean"),
    [
        ("<p>a & b</p>", "<p>a &amp; b</p>"),
        ("<a href='javascript:x'>l</a>", "<a>l</a>"),
        (
            "<a href='https://e.example/?a=1&b'>l</a>",
            '<a href="https://e.example/?a=1&amp;b" rel="noopener noreferrer">l</a>',
        ),
        ("<ul><li>open", "<ul><li>open</li></ul>"),
        ("<b><i>x</b>y", "<b><i>x</i></b>y"),
        ("</div>x<br/>", "x<br>"),
        ("<style>p{}</style><script>1<2</script>t", "t"),
    ],
)
def test_sanitise(html, clean):
    assert sanitise(html) == clean


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250 ms"), (2.4, "2 sec"), (65, "1 min 5 sec"), (3600, "1 h"), (3725, "1 h 2 min 5 sec")],
)
def test_duration(seconds, text):
    assert page.duration(seconds) == text


def test_rows_get_as_many_cells_as_there_are_columns():
    assert parse("a\tb\n1\n1\t2\t3\n\nfootnote").rows == (("1", ""), ("1", "2"))


def test_averages_over_time_are_small_plots_by_name():
    svg = plot(parse("minute\tsensor\taverage\n10:00\tlight\t1\n10:01\tlight\t3\n10:00\theat\t5"))
    assert svg.count("<svg") == 2
    assert svg.count("<circle") == 3
    assert "1 to 3" in svg


@pytest.mark.parametrize("data", ["a\tb", "a\tb\nx\ty", "a\tb\tc\nx\ty\tz", "a\tb\nx\tnan", "a\nx"])
def test_what_holds_no_numbers_is_not_drawn(data):
    assert plot(parse(data)) == ""


def test_too_many_bars_or_series_are_not_drawn():
    assert plot(parse("a\tb\n" + "x\t1\n" * 100)) == ""
    assert plot(parse("a\tb\tc\n" + "".join(f"x\t{name}\t1\n" for name in range(30)))) == ""


def test_negative_bars_hang_from_zero():
    assert plot(parse("a\tb\nx\t-5\ny\t5")).count("<rect") == 2
