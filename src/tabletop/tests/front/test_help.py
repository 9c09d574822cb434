"""The help of each verb, and the README's table of them: both say what the parser does."""

import inspect
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from ops import hookcmds

from tabletop.cli import command_of
from tabletop.commands import ALIASES, REFUSED, VERBS
from tabletop.commands.verbs import JUJU, OWN
from tabletop.engine import hooktools

README = Path(__file__).parents[2] / "README.md"
ROW = re.compile(r"\| `(?P<word>[\w-]+)` \| (?P<kind>same|differs) \| (?P<how>.*) \|")
ABSENT = re.compile(r"\| (?P<words>`[\w-]+`(?:, `[\w-]+`)*) \| (?P<why>.*) \|")
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
    command, parser = command_of(name)
    # What stands without an option before it is said by its name.
    assert [action.dest for action in parser._actions if action.option_strings and not action.help] == []
    assert [line for line in command.notes.splitlines() if len(line) > 120] == []


def test_help_shows_notes_and_examples(run, capsys):
    with pytest.raises(SystemExit):
        run("deploy", "--help")
    out = capsys.readouterr().out
    assert "examples:\n  tabletop deploy ./store.charm\n" in out
    assert "checked as a whole" in out


def section(title: str) -> str:
    return README.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows() -> dict[str, tuple[str, str]]:
    there, _, absent = section("Juju's words").partition("| absent |")
    found = [(m["word"], m["kind"], m["how"]) for line in there.splitlines() if (m := ROW.fullmatch(line))]
    for line in absent.splitlines():
        if match := ABSENT.fullmatch(line):
            found += [(word.strip("`"), "absent", match["why"]) for word in match["words"].split(", ")]
    assert [word for word, times in Counter(word for word, _, _ in found).items() if times > 1] == []
    return {word: (kind, how) for word, kind, how in found}


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
    assert set(re.findall(r"^\| `([\w-]+)", section("tabletop's own words"), re.MULTILINE)) - {"deploy"} == set(OWN)


def test_the_readme_lists_and_counts_the_hook_tools():
    text = section("Hook tools")
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert {tool for cell in first for tool in re.findall(r"`([\w-]+)`", cell)} == set(hooktools.NAMES)
    functions = [name for name in hookcmds.__all__ if inspect.isfunction(getattr(hookcmds, name))]
    assert f"All {len(hooktools.NAMES)} tools" in text
    assert f"the {len(functions)} functions of `ops.hookcmds`" in text


@pytest.mark.parametrize("word", ALIASES)
def test_other_names_are_the_same_word(run, capsys, word):
    with pytest.raises(SystemExit):
        run(word, "--help")
    assert f"usage: tabletop {ALIASES[word]}" in capsys.readouterr().out
