import json

import pytest

from iot_lake import note
from iot_lake.errors import MalformedNoteError


def executed(**overrides):
    paragraph = {
        "title": "Exactly once",
        "text": "%python\nprint(1)",
        "status": "FINISHED",
        "dateStarted": "2026-11-24 06:56:57.673",
        "dateFinished": "2026-11-24 06:56:59.549",
        "results": {"code": "SUCCESS", "msg": [{"type": "TABLE", "data": f"what\tcount\n{note.COUNT_LABEL}\t1000\n"}]},
    }
    return {"name": "A note", "paragraphs": [paragraph | overrides]}


def test_the_tutorial_names_its_three_phases_and_shows_its_titles():
    built = note.build()
    assert built["name"] == "Zeppelin Flume/HDFS Tutorial"
    welcome = built["paragraphs"][0]["text"]
    assert welcome.startswith("%md\n")
    for phase in ("Data ingestion", "Data processing", "Data visualisation"):
        assert phase in welcome
    titles = [paragraph["title"] for paragraph in built["paragraphs"]]
    assert "Generate data and verify ingestion" in titles
    assert len(set(titles)) == len(titles)
    assert json.loads(json.dumps(built)) == built


def test_every_python_paragraph_compiles_and_no_markdown_shows_its_source():
    for paragraph in note.parse(note.build()).paragraphs:
        if paragraph.interpreter == "python":
            compile(paragraph.code, paragraph.title, "exec")
        assert paragraph.shows_code == (paragraph.interpreter == "python")


def test_the_tutorial_shows_its_count_under_the_label_that_is_looked_for():
    texts = [paragraph["text"] for paragraph in note.build()["paragraphs"]]
    assert any(note.COUNT_LABEL in text for text in texts)


def test_an_unknown_folder_is_refused():
    with pytest.raises(MalformedNoteError, match="notebooks/none"):
        note.build("none")


def test_an_executed_note_is_read():
    found = note.parse(executed())
    paragraph = found.paragraphs[0]
    assert (paragraph.interpreter, paragraph.code) == ("python", "print(1)")
    assert paragraph.seconds == pytest.approx(1.876)
    assert found.count() == 1000


@pytest.mark.parametrize(
    "overrides",
    [
        {"results": None},
        {"results": {"msg": [{"type": "TEXT", "data": f"{note.COUNT_LABEL}\t1"}]}},
        {"results": {"msg": [{"type": "TABLE", "data": f"a\tb\n{note.COUNT_LABEL}\tmany"}]}},
    ],
)
def test_a_note_that_shows_no_count_has_none(overrides):
    assert note.parse(executed(**overrides)).count() is None


def test_a_paragraph_that_never_ran_took_no_time():
    never = note.parse({"name": "x", "paragraphs": [{"text": "plain"}]}).paragraphs[0]
    assert (never.seconds, never.status, never.interpreter, never.code) == (None, "READY", "", "plain")


def test_times_of_different_runs_make_no_duration():
    paragraph = note.parse(executed(dateFinished="2026-11-24 06:00:00.000")).paragraphs[0]
    assert paragraph.seconds is None


@pytest.mark.parametrize(
    "exported", [{}, {"name": "x"}, {"name": 1, "paragraphs": []}, {"name": "x", "paragraphs": [1]}]
)
def test_what_is_no_note_is_refused(exported):
    with pytest.raises(MalformedNoteError, match="not a note"):
        note.parse(exported)


def test_the_digest_follows_what_a_person_edits_and_nothing_else():
    built = note.parse(note.build()).digest()
    ran = note.build()
    ran["paragraphs"][0]["status"] = "FINISHED"
    assert note.parse(ran).digest() == built
    ran["paragraphs"][0]["text"] += "\nmine"
    assert note.parse(ran).digest() != built
