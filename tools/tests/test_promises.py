"""What is promised is found; what isn't is told with both values."""

import dataclasses
import json

import chain
import promises
import pytest

LISTING = """\
Found 1 items
-rw-r--r--   1 flume supergroup     512 2026-01-02 03:04 /user/flume/flume-rabbitmq/2026-01-02/FlumeData.176732304000.gz
"""
FOUND = chain.Ingested(LISTING, sent=10, in_hdfs=10, lost=0, duplicated=0)


def test_steps_read_what_actions_answer():
    sent = chain.generate(count=10).read({"node": "n-1", "sent": "10", "seconds": "0.5"})
    assert sent == chain.Sent("n-1", 10, 0.5)
    step = chain.verify(sent, timeout_s=5)
    assert step.params == {"node": "n-1", "sent": 10, "timeout": 5}
    answer = {"listing": LISTING, "sent": "10", "in-hdfs": "10", "lost": "0", "duplicated": "0"}
    assert step.read(answer) == FOUND
    note = chain.run_notebook(sent).read({"count": "10", "html": "/page", "paragraphs": "text"})
    assert note == chain.Notebook(10, "/page", "text")
    with pytest.raises(KeyError):
        step.read({})


def shown(identifier: str, *states: str) -> dict[str, object]:
    return {"id": identifier, "node": "n-1", "steps": [{"state": state, "time": 1.5} for state in states]}


def test_steps_read_what_becomes_of_a_command():
    given = chain.send_command("light", 60)
    assert given.params == {"node": "sensor-node-0", "target": "light", "value": 60}
    assert given.read({"all": json.dumps(shown("c-1", "queued"))}) == chain.Command("c-1", ("queued",))
    listed = json.dumps([shown("c-2", "queued"), shown("c-1", *chain.DONE)])
    command = chain.show_command("c-1").read({"commands": "2", "all": listed})
    assert command.states == chain.DONE
    promises.done(command)
    lines = [json.dumps({"text": state, "command": "c-1"}) for state in (*chain.DONE, "sent")]
    promises.told(command, "\n".join(lines))
    with pytest.raises(promises.BrokenPromiseError, match="states in HDFS of command c-1"):
        promises.told(command, "\n".join(lines[1:]))
    with pytest.raises(promises.BrokenPromiseError, match=r"promised \('queued', .* found \('queued',\)"):
        promises.done(chain.Command("c-1", ("queued",)))


def test_a_promise_that_is_kept():
    promises.deployed(reversed(chain.APPLICATIONS))
    promises.sent(chain.Sent("n", 10, 0.5), 10)
    promises.exactly_once(FOUND, 10)
    promises.nothing_lost(dataclasses.replace(FOUND, duplicated=3), 10)
    promises.counted(chain.Notebook(10, "", ""), 10)
    promises.rendered("Zeppelin Flume/HDFS Tutorial FlumeData.1 <table>" + "FINISHED" * 4)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: promises.deployed(chain.APPLICATIONS[1:]), "applications: promised .*sensor-node"),
        (lambda: promises.sent(chain.Sent("n", 9, 0.5), 10), "promised 10, found 9"),
        (lambda: promises.nothing_lost(dataclasses.replace(FOUND, lost=1), 10), r"found \(10, 1\)"),
        (lambda: promises.exactly_once(dataclasses.replace(FOUND, duplicated=1), 10), r"found \(10, 10, 0, 1\)"),
        (lambda: promises.exactly_once(dataclasses.replace(FOUND, listing=""), 10), "names no file"),
        (lambda: promises.exactly_once(dataclasses.replace(FOUND, listing=LISTING.replace(".gz", "")), 10), "not as"),
        (lambda: promises.counted(chain.Notebook(9, "", ""), 10), "promised 10, found 9"),
        (lambda: promises.rendered("Zeppelin Flume/HDFS Tutorial FlumeData.1"), "<table"),
        (lambda: promises.rendered("Zeppelin Flume/HDFS Tutorial FlumeData.1 <table> FINISHED"), "1 paragraphs"),
    ],
)
def test_a_promise_that_is_broken(check, words):
    with pytest.raises(promises.BrokenPromiseError, match=words):
        check()
