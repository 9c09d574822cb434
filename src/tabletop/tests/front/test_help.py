"""The help of each verb, and the README's table of them: both say what the parser does."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from tabletop.cli import command_of
from tabletop.commands import ALIASES, REFUSED, VERBS
from tabletop.commands.verbs import JUJU, OWN

README = Path(__file__).parents[2] / "README.md"
ROW = re.compile(r"\| `(?P<word>[\w-]+)` \| (?P<kind>same|differs|absent) \| (?P<how>.*) \|")
COUNTS = re.compile(r"(\d+) words of Juju's: (\d+) the same, (\d+) that differ, (\d+) absent\.")


@pytest.mark.parametrize("name", VERBS)
def test_examples_of_the_help_are_command_lines(name):
    command, parser = command_of(name)
    assert command.examples
    for example in command.examples:
        word, *words = shlex.split(example)
        assert word == name or VERBS[word].command == type(command).__name__
        if command.intermixed:
            parser.parse_intermixed_args(words)
        else:
            parser.parse_args(words)


@pytest.mark.parametrize("name", VERBS)
def test_every_argument_says_what_it_is(name):
    _, parser = command_of(name)
    for action in parser._actions:
        said = action.help or action.metavar or (action.option_strings and action.dest) or action.dest
        assert said
        assert all(len(line) <= 120 for line in (command_of(name)[0].notes or "").splitlines())


def test_help_shows_notes_and_examples(run, capsys):
    with pytest.raises(SystemExit):
        run("deploy", "--help")
    out = capsys.readouterr().out
    assert "examples:\n  tabletop deploy ./store.charm\n" in out
    assert "checked as a whole" in out


def rows() -> dict[str, tuple[str, str]]:
    found = [match for line in README.read_text().splitlines() if (match := ROW.fullmatch(line))]
    words = [match["word"] for match in found]
    assert [word for word, times in Counter(words).items() if times > 1] == []
    return {match["word"]: (match["kind"], match["how"]) for match in found}


def test_the_readme_lists_exactly_the_words_the_parser_knows():
    table = rows()
    there = {word for word, (kind, _) in table.items() if kind != "absent"}
    assert there == set(JUJU) | (set(ALIASES) - {"kill"})
    assert {word for word, (kind, _) in table.items() if kind == "absent"} == set(REFUSED)
    assert all(how for kind, how in table.values() if kind == "differs")


def test_the_readme_counts_them():
    counted = COUNTS.search(README.read_text())
    assert counted is not None
    kinds = Counter(kind for kind, _ in rows().values())
    assert tuple(map(int, counted.groups())) == (kinds.total(), kinds["same"], kinds["differs"], kinds["absent"])


def test_the_readme_gives_the_refusals_own_words():
    assert {word: how for word, (kind, how) in rows().items() if kind == "absent"} == dict(REFUSED)


def test_the_readme_lists_tabletops_own_words():
    listed = re.findall(r"^\| `([\w-]+)", README.read_text().partition("## Juju's words")[0], re.MULTILINE)
    assert set(listed) >= set(OWN)


@pytest.mark.parametrize("word", ALIASES)
def test_other_names_are_the_same_word(run, capsys, word):
    with pytest.raises(SystemExit):
        run(word, "--help")
    assert f"usage: tabletop {ALIASES[word]}" in capsys.readouterr().out
