import json
import os
import signal
import threading
from pathlib import Path

import pytest

from iot_node.agent import Status, write_status
from iot_node.cli import main


def test_generate_ends_with_a_summary(gateway, config_file: Path, capsys: pytest.CaptureFixture[str]):
    code = main(["generate", "--config", str(config_file), "--count", "250", "--subnode", "a", "--seed", "3"])
    assert code == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["node"], summary["sent"], summary["acknowledged"]) == ("node-1:a", 250, 250)
    assert len(gateway.received) == 3


def test_a_run_is_named_by_the_time(gateway, config_file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", "--config", str(config_file), "--count", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["node"].startswith("node-1:run-2")


def test_a_failure_is_one_line(gateway, config_file: Path, capsys: pytest.CaptureFixture[str]):
    gateway.refuse_packs = 100
    assert main(["generate", "--config", str(config_file), "--count", "1"]) == 1
    assert capsys.readouterr().err.startswith("iot-node: 127.0.0.1:")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--count=-1", "must be at least 1"),
        ("--count=x", "invalid"),
        ("--rate=-1", "at least 0"),
        ("--rate=inf", "at least 0"),
        ("--timeout=0", "at least 1"),
        ("--subnode=a/b", "a dot is not allowed"),
    ],
)
def test_bad_input_is_refused(config_file: Path, capsys: pytest.CaptureFixture[str], option: str, words: str):
    with pytest.raises(SystemExit) as ended:
        main(["generate", "--config", str(config_file), "--count", "5", option])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_status_is_what_the_agent_told(config_file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--config", str(config_file)]) == 1
    write_status(config_file.parent / "state", Status(acknowledged=7))
    assert main(["status", "--config", str(config_file)]) == 0
    assert json.loads(capsys.readouterr().out)["acknowledged"] == 7


def test_run_ends_on_sigterm(gateway, config_file: Path):
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        assert main(["run", "--config", str(config_file)]) == 0
    finally:
        signal.signal(signal.SIGTERM, former[0])
        signal.signal(signal.SIGINT, former[1])
    assert gateway.received
