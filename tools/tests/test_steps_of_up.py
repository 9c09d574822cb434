"""`make up` runs the steps through tabletop's command line."""

import json
import time
from pathlib import Path

import chain
import pytest
import up

ANSWER = {"node": "n-1", "sent": "10", "seconds": "0.5"}


@pytest.fixture
def tabletop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tabletop that notes its words and answers what is in a file beside it."""
    program = tmp_path / "tabletop"
    program.write_text('#!/bin/sh\necho "$*" >"$0.words"\ncat "$0.answer"\n')
    program.chmod(0o755)
    monkeypatch.setattr(up, "TABLETOP", program)
    return program


def answer(tabletop: Path, **task: object) -> None:
    text = json.dumps({"sensor-node/0": {"status": "completed", "results": ANSWER, **task}})
    tabletop.with_name("tabletop.answer").write_text(text)


def test_a_step_is_an_action_with_its_parameters(tabletop: Path):
    answer(tabletop)
    assert up.run_shown(chain.generate(count=10, rate=5)) == chain.Sent("n-1", 10, 0.5)
    words = tabletop.with_name("tabletop.words").read_text().split()
    assert words[-5:] == ["sensor-node/0", "generate-data", "count=10", "rate=5", "seed=1"]


def test_a_failed_action_is_told(tabletop: Path):
    answer(tabletop, status="failed", message="no gateway")
    with pytest.raises(up.UpError, match="generate-data on sensor-node/0 failed: no gateway"):
        up.run_shown(chain.generate(count=10))


def test_no_answer_is_told(tabletop: Path):
    tabletop.with_name("tabletop.answer").write_text("")
    with pytest.raises(up.UpError, match="gave no answer"):
        up.run_shown(chain.generate(count=10))


def test_whatever_a_job_raises_is_raised_once_all_have_ended():
    ended: list[str] = []

    def fail():
        raise FileNotFoundError("no program")

    def end_late():
        time.sleep(0.1)
        ended.append("late")

    with pytest.raises(FileNotFoundError, match="no program"):
        up.together(fail, end_late)
    assert ended == ["late"]
