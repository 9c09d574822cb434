"""HTML that others made, reduced to what is harmless in a page."""

from html import escape
from html.parser import HTMLParser

_TAGS = frozenset(
    (
        *("a", "b", "code", "del", "em", "i", "s", "span", "strong", "sub", "sup", "u"),
        *("blockquote", "br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p", "pre"),
        *("dd", "dl", "dt", "li", "ol", "ul", "table", "tbody", "td", "th", "thead", "tr"),
    )
)
_EMPTY = frozenset(("br", "hr"))
_DROPPED = frozenset(("script", "style", "template", "iframe", "object"))
"""Elements that go together with their content."""


def sanitise(html: str) -> str:
    """Keep text and its formatting; drop scripts, styles, attributes, and links that lead to anything but the web.

    Elements that are still open at the end are closed, so that nothing leaks out.
    """
    parser = _Sanitiser()
    parser.feed(html)
    parser.close()
    return parser.text()


class _Sanitiser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropping = 0

    def text(self) -> str:
        return "".join(self._parts) + "".join(f"</{tag}>" for tag in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping += 1
        if self._dropping or tag not in _TAGS:
            return
        target = dict(attrs).get("href") if tag == "a" else None
        if target is not None and target.startswith(("https://", "http://", "#")):
            self._parts.append(f'<a href="{escape(target)}" rel="noopener noreferrer">')
        else:
            self._parts.append(f"<{tag}>")
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropping = max(0, self._dropping - 1)
            return
        if self._dropping or tag not in self._open:
            return
        while (last := self._open.pop()) != tag:
            self._parts.append(f"</{last}>")
        self._parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._parts.append(escape(data, quote=False))
