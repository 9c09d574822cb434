"""The part of the query language of `juju wait-for` that compares names with text."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tabletop.errors import TabletopError

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<operator>&&|\|\||==|!=|!|\(|\))|(?P<word>[A-Za-z0-9][\w.-]*))"""
)

Facts = Mapping[str, str]
_Test = Callable[[Facts], bool]


class QueryError(TabletopError):
    """A query makes no sense, or asks for what isn't known."""


@dataclass(frozen=True, slots=True)
class Query:
    """A condition on facts, which have names."""

    holds: _Test
    """Tells whether it holds; raises QueryError if it asks for a fact that isn't there."""

    @classmethod
    def parse(cls, text: str) -> "Query":
        """Read a query such as `life=="alive" && (status=="active" || !(exposed=="true"))`.

        Raises:
            QueryError: it isn't one; the text says where.
        """
        parser = _Parser(text)
        test = parser.either()
        parser.end()
        return cls(test)


class _Parser:
    """Recursive descent: either (`||`) of all (`&&`) of not (`!`) of comparisons and parentheses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def either(self) -> _Test:
        tests = [self._all()]
        while self._take("||"):
            tests.append(self._all())
        return lambda facts: any(test(facts) for test in tests)

    def end(self) -> None:
        if self._text[self._position :].strip():
            raise self._error("&& or || was expected")

    def _all(self) -> _Test:
        tests = [self._not()]
        while self._take("&&"):
            tests.append(self._not())
        return lambda facts: all(test(facts) for test in tests)

    def _not(self) -> _Test:
        if self._take("!"):
            test = self._not()
            return lambda facts: not test(facts)
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise self._error(") was expected")
            return inner
        return self._comparison()

    def _comparison(self) -> _Test:
        name = self._next("word")
        if name is None:
            raise self._error("a name was expected")
        if self._take("("):
            raise self._error(f"{name}() isn't known: tabletop compares names with text, and has no functions")
        equal = self._take("==")
        if not equal and not self._take("!="):
            raise self._error("== or != was expected")
        wanted = self._next("text") or self._next("word")
        if wanted is None:
            raise self._error("a text was expected")
        value = wanted.strip("\"'")

        def test(facts: Facts) -> bool:
            if name not in facts:
                raise QueryError(f"there is no {name!r} to ask for; there is {', '.join(facts)}")
            return (facts[name] == value) is equal

        return test

    def _take(self, operator: str) -> bool:
        match = _TOKEN.match(self._text, self._position)
        if match is None or match["operator"] != operator:
            return False
        self._position = match.end()
        return True

    def _next(self, kind: str) -> str | None:
        match = _TOKEN.match(self._text, self._position)
        if match is None or match[kind] is None:
            return None
        self._position = match.end()
        return match[kind]

    def _error(self, problem: str) -> QueryError:
        return QueryError(
            f"bad query {self._text!r}, at {self._text[self._position :].strip() or 'its end'!r}: {problem}"
        )
