"""The command line as a person uses it: what it prints, where, and with which exit status."""

import io
import json
import os
import subprocess
import sys

import pytest
import yaml

from tabletop import cli
from tabletop.commands import ALIASES, REFUSED, VERBS
from tabletop.commands.options import duration

CONFIG = {"settings": {"colour": {"value": "blue"}, "loud": {"value": True}, "unset": {}}}
TASKS = {
    "7": {"id": "7", "unit": "a/0", "status": "completed", "message": "", "results": {"return-code": 0, "x": "1"}},
    "8": {
        "id": "8",
        "unit": "a/1",
        "status": "failed",
        "message": "because",
        "results": {"return-code": 2, "stdout": "o"},
    },
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def in_model(daemon, monkeypatch):
    """A daemon, and a model that is meant unless another is given."""
    monkeypatch.setenv("JUJU_MODEL", "m")
    return daemon


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["--help"]])
def test_overview(run, words):
    status, out, _ = run(*words)
    assert status == 0
    assert out.startswith("tabletop is NOT Juju.")
    assert all(f"  {name} " in out for name in VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_help_of_each_verb(run, name, capsys):
    with pytest.raises(SystemExit) as end:
        run(name, "--help")
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: tabletop {name}" in out
    assert "NOT Juju" in out


def test_help_of_a_verb_by_name(run, capsys):
    with pytest.raises(SystemExit):
        run("help", "deploy")
    assert "usage: tabletop deploy" in capsys.readouterr().out


@pytest.mark.parametrize("name", REFUSED)
def test_refused_verbs(run, name):
    status, out, err = run(name)
    assert (status, out) == (1, "")
    assert err == f"ERROR tabletop doesn't have '{name}': {REFUSED[name]}\n"


def test_no_word_is_both_there_and_refused():
    assert not set(VERBS) & set(REFUSED)
    assert set(ALIASES.values()) <= set(VERBS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["statsu"], "did you mean 'status'?"),
        (["frobnicate"], "'tabletop help' lists what it does"),
        (["deploy"], "the following arguments are required: PATH"),
        (["status", "--format", "xml"], "invalid choice: 'xml'"),
        (["run", "-m", "m", "smoke-test"], "no unit specified"),
        (["run", "-m", "m", "a/0"], "no action specified"),
        (["run", "-m", "m", "a/0", "b/0", "x"], "all units must be of the same application"),
        (["run", "-m", "m", "a/0", "x", "y"], "must be of the form key.key.key...=value"),
        (["run", "-m", "m", "a/0", "x", "y=["], "the value isn't YAML"),
        (["run", "-m", "m", "a/0", "x", "--wait", "soon"], "'soon' isn't a duration"),
        (["exec", "-m", "m", "--unit", "a/0"], "no commands specified"),
        (["exec", "-m", "m", "true"], "give a target"),
        (["exec", "-m", "m", "--all", "--unit", "a/0", "true"], "either --all, or the targets one by one"),
        (["config", "-m", "m", "a", "x", "y=1"], "either show one option, or set some"),
        (["config", "-m", "m", "a", "x=1", "--reset", "x"], "x: both set and reset"),
        (["add-unit", "-m", "m", "a", "-n", "0"], "--num-units must be a positive integer"),
        (["remove-unit", "-m", "m", "a", "--num-units", "1"], "name the units to remove"),
        (["resolved", "-m", "m"], "name a unit, or give --all"),
        (["add-secret", "-m", "m", "s"], "a secret needs content"),
        (["add-secret", "-m", "m", "s", "x"], "expected key=value, got 'x'"),
        (["show-secret", "-m", "m", "s", "--reveal", "--revisions"], "goes with neither"),
        (["pack", "a", "b", "-o", "c.charm"], "one file can't hold several charms"),
    ],
)
def test_usage_errors(run, daemon, words, expected):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("ERROR ")
    assert expected in err
    assert daemon.calls == []


def test_no_model(run, daemon):
    assert run("status") == (
        1,
        "",
        "ERROR no model is current: give one with -m, or make one with 'tabletop add-model NAME'\n",
    )


def test_the_current_model(run, daemon, status):
    daemon.answers.update(status=status, models=[{"name": "iot", "uuid": "t"}, {"name": "other", "uuid": "u"}])
    assert run("switch")[0] == 1
    assert run("add-model", "iot")[2] == "Added 'iot' model on localhost for user 'admin'\n"
    assert run("switch")[1] == "tabletop:admin/iot\n"
    run("status")
    assert run("switch", "other")[0] == 0
    run("status")
    run("status", "-m", "tabletop:admin/third")
    assert [asked["model"] for asked in daemon.asked("status")] == ["iot", "other", "third"]
    assert run("switch", "nope")[2] == "ERROR model tabletop:admin/nope not found\n"
    assert run("show-model", "nope")[0] == 1
    assert "other*" in run("models")[1]
    listed = json.loads(run("models", "--format", "json")[1])
    assert [model["short-name"] for model in listed["models"]] == ["iot", "other"]
    assert run("destroy-model", "other", "--no-prompt")[2] == "Model 'other' destroyed\n"
    assert run("switch")[0] == 1


@pytest.mark.parametrize(
    ("words", "method"),
    [(["destroy-model", "m"], "destroy_model"), (["remove-application", "-m", "m", "a"], "remove_application")],
)
def test_what_removes_asks_first(run, daemon, monkeypatch, words, method):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    status, _, err = run(*words)
    assert status == 1
    assert "there is no terminal to ask on" in err
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run(*words)[0] == 1
    assert daemon.asked(method) == []
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run(*words)[0] == 0
    assert len(daemon.asked(method)) == 1


def test_status_forms(run, in_model, status):
    in_model.answers["status"] = status
    assert "Integration provider" in run("status", "--relations")[1]
    assert json.loads(run("status", "--format", "json")[1]) == status
    assert yaml.safe_load(run("status", "--format=yaml")[1]) == status
    assert "store/0" not in run("status", "web")[1]
    filtered = json.loads(run("status", "web/2", "--format", "json")[1])
    assert set(filtered["applications"]["web"]["units"]) == {"web/2"}
    assert set(filtered["machines"]) == {"2"}
    assert run("status", "nope")[2] == "ERROR nothing matches nope\n"


def test_status_again_and_again(run, in_model, status, monkeypatch):
    answers = iter([status, status])
    in_model.answers["status"] = lambda **_: next(answers)
    monkeypatch.setattr("time.sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    code, out, err = run("status", "--watch", "5s")
    assert (code, err) == (130, "interrupted\n")
    assert out.startswith("Model")


def test_addresses(run, in_model, status):
    in_model.answers["status"] = status
    assert "web/10   10.87.1.12  80/tcp,443/tcp" in run("addresses")[1]
    found = json.loads(run("addresses", "--format", "json")[1])
    assert found["web/10"] == {"address": "10.87.1.12", "ports": ["80/tcp", "443/tcp"]}


def test_show_application(run, in_model, status):
    in_model.answers["status"] = status
    assert yaml.safe_load(run("show-application", "store")[1])["store"]["charm"] == "store"
    assert run("show-application", "nope")[2] == 'ERROR application "nope" not found\n'


def test_config_of_one_option(run, in_model):
    in_model.answers["get_config"] = CONFIG
    assert run("config", "a", "colour")[1] == "blue\n"
    assert run("config", "a", "loud")[1] == "true\n"
    assert run("config", "a", "unset")[1] == "\n"
    assert run("config", "a", "loud", "--format", "json")[1] == "true\n"
    assert "'nope' not found" in run("config", "a", "nope")[2]
    assert yaml.safe_load(run("config", "a")[1]) == CONFIG


def test_config_from_files(run, in_model, tmp_path):
    (tmp_path / "flat.yaml").write_text("colour: red\n")
    (tmp_path / "named.yaml").write_text("a: {size: 3}\nb: {size: 4}\n")
    (tmp_path / "text").write_text("long text")
    run("config", "a", "--file", tmp_path / "flat.yaml")
    run("config", "a", "--file", tmp_path / "named.yaml", f"note=@{tmp_path}/text", "--reset", "x,y")
    assert [(asked["values"], asked["reset"]) for asked in in_model.asked("set_config")] == [
        ({"colour": "red"}, []),
        ({"size": 3, "note": "long text"}, ["x", "y"]),
    ]
    assert "can't read" in run("config", "a", "note=@/nonexistent")[2]


def test_deploy_with_a_file_of_options(run, in_model, packed, tmp_path):
    (tmp_path / "options.yaml").write_text("web: {loud: true}\n")
    run("deploy", packed("web"), "--config", tmp_path / "options.yaml", "--config", "ratio=2")
    assert in_model.asked("deploy")[0]["config"] == {"loud": True, "ratio": "2"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--resource", "seed=nope"], "resource 'seed': no such file: nope"),
        (["--resource", "seed"], "expected key=value"),
        (["-n", "-1"], "must be a positive integer"),
        (["--overlay", "x.yaml"], "isn't a bundle"),
    ],
)
def test_deploy_that_makes_no_sense(run, in_model, packed, words, expected):
    status, _, err = run("deploy", packed("web"), *words)
    assert status == 2
    assert expected in err
    assert in_model.calls == []


def test_attach_resource(run, in_model, tmp_path):
    (tmp_path / "seed").write_text("corn")
    assert run("attach-resource", "store", f"seed={tmp_path}/seed")[0] == 0
    assert in_model.asked("refresh") == [
        {"model": "m", "app": "store", "charm": None, "resources": {"seed": f"{tmp_path}/seed"}}
    ]


def test_dry_run_of_a_bundle(run, in_model, packed, tmp_path):
    packed("web")
    (tmp_path / "bundle.yaml").write_text("applications: {web: {charm: ./web.charm}}\n")
    status, _, err = run("deploy", tmp_path, "--dry-run")
    assert status == 0
    assert "nothing was deployed" in err
    assert in_model.calls == []
    in_model.answers["status"] = {"applications": {"web": {"charm-name": "web", "units": {"web/0": {"machine": "0"}}}}}
    assert "Nothing to do" in run("deploy", tmp_path)[2]


def test_run_of_an_action(run, in_model):
    in_model.answers["run_action"] = {"tasks": {"a/0": "7"}}
    in_model.answers["wait_task"] = lambda id, **_: TASKS[id]
    in_model.progress["wait_task"] = ["07:00 half way"]
    words = ["a/0", "act", "n=3", "deep.key=yes", "deep.other=[1]", "text=a b"]
    status, out, err = run("run", *words)
    assert (status, out) == (0, "x: '1'\n\n")
    assert "07:00 half way\n" in err
    assert "task 7 on unit-a-0" in err
    assert in_model.asked("run_action")[0]["params"] == {
        "n": 3,
        "deep": {"key": True, "other": [1]},
        "text": "a b",
    }
    run("run", *words, "--string-args")
    assert in_model.asked("run_action")[1]["params"]["n"] == "3"


def test_run_on_several_units_of_which_one_fails(run, in_model):
    in_model.answers["run_action"] = {"tasks": {"a/0": "7", "a/1": "8"}}
    in_model.answers["wait_task"] = lambda id, **_: TASKS[id]
    status, out, err = run("run", "a/0", "a/1", "act")
    assert status == 1
    assert "a/1:\n  id: '8'\n  status: failed\nAction id 8 failed: because\no\n" in out
    assert 'ERROR the following task failed:\n - id "8" with return code 2' in err
    status, out, _ = run("run", "a/0", "a/1", "act", "--format", "json")
    assert status == 1
    assert json.loads(out)["a/1"]["message"] == "because"


def test_a_task_that_was_only_said_to_have_failed_or_was_cancelled_is_no_failure_of_the_client(run, in_model):
    failed = {**TASKS["8"], "results": {"half": "done", "return-code": 0}}
    in_model.answers["run_action"] = {"tasks": {"a/1": "8"}}
    in_model.answers["wait_task"] = failed
    status, out, err = run("run", "a/1", "act")
    assert (status, out) == (0, "Action id 8 failed: because\nhalf: done\n\n")
    assert "ERROR" not in err
    in_model.answers["wait_task"] = {"id": "8", "unit": "a/1", "status": "cancelled"}
    status, out, err = run("run", "a/1", "act", "--format", "json")
    assert (status, json.loads(out)["a/1"]["status"]) == (0, "cancelled")
    assert "ERROR" not in err


def test_run_in_the_background(run, in_model):
    in_model.answers["run_action"] = {"tasks": {"a/0": "7"}}
    status, out, err = run("run", "a/0", "act", "--background")
    assert (status, out) == (0, "")
    assert "'tabletop show-task 7'" in err
    assert in_model.asked("wait_task") == []


def test_show_task(run, in_model):
    in_model.answers["task"] = lambda id, **_: TASKS[id]
    in_model.answers["wait_task"] = lambda id, **_: TASKS[id]
    assert yaml.safe_load(run("show-task", "8")[1])["message"] == "because"
    assert json.loads(run("show-task", "7", "--wait", "1m", "--format", "json")[1])["status"] == "completed"


def test_actions(run, in_model):
    in_model.answers["actions"] = {"act": {"description": "Acts.\nAt length.", "params": {"n": {}}}}
    assert "act     Acts.\n" in run("actions", "a")[1]
    assert yaml.safe_load(run("actions", "a", "--format", "yaml")[1]) == {"act": "Acts."}
    assert yaml.safe_load(run("actions", "a", "--schema")[1])["act"]["params"] == {"n": {}}


def test_exec_on_many(run, in_model, status):
    in_model.answers["status"] = status
    in_model.answers["exec"] = lambda target, **_: {"stdout": f"on {target}", "stderr": "", "return-code": 0}
    assert run("exec", "--application", "web", "hostname")[1] == "web/10:\non web/10\n\nweb/2:\non web/2\n\n"
    assert run("exec", "--all", "--", "hostname", "-f")[1] == "10:\non 10\n\n2:\non 2\n\n"
    assert in_model.asked("exec")[-1]["argv"] == ["/bin/bash", "-c", "hostname -f"]
    assert run("exec", "-u", "web/2", "hostname")[1] == "on web/2\n"
    assert "application 'nope' not found" in run("exec", "-a", "nope", "hostname")[2]


def test_resolved_of_all(run, in_model, status):
    in_model.answers["status"] = status
    run("resolve", "--all", "--no-retry")
    assert in_model.asked("resolved") == [{"model": "m", "unit": "web/10", "no_retry": True}]


def test_debug_log_filters(run, in_model):
    lines = [
        {"id": number, "entity": entity, "time": "t", "level": "INFO", "module": "x", "message": str(number)}
        for number, entity in enumerate(("web/0", "web/1", "store/0", "machine-0"), 1)
    ]
    in_model.answers["debug_log"] = lambda since_id=0, limit=0, **_: {
        "lines": [line for line in lines if line["id"] > since_id][-limit:]
    }
    shown = run("debug-log", "--limit", "9", "-i", "unit-web-0", "-i", "store")[1]
    assert [line.rpartition(" ")[2] for line in shown.splitlines()] == ["1", "3"]
    shown = run("debug-log", "--no-tail", "-x", "web/*", "-i", "*")[1]
    assert [line.partition(":")[0] for line in shown.splitlines()] == ["unit-store-0", "machine-0"]
    shown = run("debug-log", "--limit", "1", "-i", "web")[1]
    assert [line.rpartition(" ")[2] for line in shown.splitlines()] == ["2"]
    shown = run("debug-log", "--replay", "--no-tail", "--include-module", "y")[1]
    assert shown == ""
    shown = run("debug-log", "--replay", "--no-tail", "--include-module", "x", "--exclude-module", "x.z")[1]
    assert len(shown.splitlines()) == 4
    run("debug-log", "--limit", "9", "--level", "warning")
    assert in_model.asked("debug_log")[-1] == {"model": "m", "level": "WARNING", "limit": 9}


def test_debug_log_follows(run, in_model, refusal):
    line = {"id": 5, "entity": "web/0", "time": "t", "level": "INFO", "module": "x", "message": "new"}

    def answer(since_id: int = 0, wait: float = 0, **_: object) -> object:
        # What comes first is there at once, the line comes later, and then the model goes.
        return refusal("gone") if since_id == 5 else {"lines": [line] if wait else []}

    in_model.answers["debug_log"] = answer
    assert run("debug-log", "--tail") == (1, "unit-web-0: t INFO x new\n", "ERROR gone\n")
    assert [asked.get("since_id") for asked in in_model.asked("debug_log")] == [None, 0, 5]


def test_model_config_forms(run, in_model):
    in_model.answers["model_config"] = {"key": {"Value": "5m", "Source": "default"}}
    assert "key        default  5m" in run("model-config")[1]
    assert run("model-config", "key")[1] == "5m\n"
    assert run("model-config", "nope")[0] == 1
    in_model.answers["model_constraints"] = {"arch": "arm64"}
    assert run("model-constraints")[1] == "arch=arm64\n"
    run("set-model-constraints", "arch=")
    assert in_model.asked("model_constraints")[-1]["values"] == {}


def test_secret_tables(run, in_model):
    in_model.answers["secrets"] = {"abc": {"name": "s", "owner": "<model>", "revision": 2}}
    assert run("secrets")[1].splitlines()[1].split() == ["abc", "s", "<model>", "never", "2"]
    in_model.answers["secrets"] |= {"def": {"owner": "store", "revision": 1}, "ghi": {"owner": "store/0"}}
    for owner, found in (
        ("store", "def"),
        ("application-store", "def"),
        ("store/0", "ghi"),
        ("unit-store-0", "ghi"),
        ("model-4f2a", "abc"),
    ):
        assert list(json.loads(run("secrets", "--owner", owner, "--format", "json")[1])) == [found]
    in_model.answers["show_secret"] = {"abc": {"content": {"k": "v"}}}
    assert yaml.safe_load(run("show-secret", "s", "--reveal")[1]) == {"abc": {"content": {"k": "v"}}}


def test_version(run):
    text = run("version")[1]
    assert run("--version")[1] == text
    assert json.loads(run("version", "--format", "json")[1]) == text.strip()
    assert "not Juju" in run("version", "--all")[1]


def test_pack(run, home, tmp_path):
    (tmp_path / "mine/src").mkdir(parents=True)
    (tmp_path / "mine/src/charm.py").write_text("")
    (tmp_path / "mine/charmcraft.yaml").write_text("name: mine\nparts:\n  charm: {plugin: python}\n")
    status, out, err = run("pack", tmp_path / "mine", "-o", tmp_path / "out")
    assert (status, out) == (0, f"{tmp_path}/out/mine.charm\n")
    assert err.endswith("mine: packed\n")
    assert run("pack", tmp_path / "mine", "-o", tmp_path / "out")[2] == "mine: up to date\n"


def test_errors_of_the_daemon_are_one_line(run, in_model, refusal):
    in_model.answers["integrate"] = refusal("they can't be related")
    assert run("integrate", "a", "b") == (1, "", "ERROR they can't be related\n")


def test_a_reader_that_has_seen_enough(in_model, status, monkeypatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return 1

    in_model.answers["status"] = status
    dup2 = []
    with monkeypatch.context() as patch:
        patch.setattr("os.dup2", lambda *numbers: dup2.append(numbers))
        patch.setattr(sys, "stdout", Full())
        assert cli.main(["status"]) == 141
    assert dup2


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1m30s", 90), ("0.5h", 1800), ("250ms", 0.25), ("20.0s", 20)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["inf", "nan", "-5", "5 m", ""])
def test_what_is_no_duration(run, text):
    assert f"{text!r} isn't a duration such as 90s" in run("kill-machine", "-m", "m", "0", f"--for={text}")[2]


MACHINES = {
    "0": {"juju-status": {"current": "started"}, "dns-name": "10.0.0.2", "instance-id": "m-0"},
    "1": {"juju-status": {"current": "pending"}, "machine-status": {"message": "building"}},
}
OPERATIONS = {
    "3": {
        "summary": "act run on a/0,a/1",
        "status": "failed",
        "action": {"name": "act", "parameters": {}},
        "timing": {"enqueued": "t0", "started": "t1"},
        "tasks": {str(number): {"host": f"a/{number - 3}", "status": "failed"} for number in range(3, 10)},
    },
    "12": {
        "summary": "commands run on b/0",
        "status": "completed",
        "action": {"name": "juju-exec", "parameters": {}},
        "timing": {},
        "tasks": {"12": {"host": "b/0", "status": "completed"}},
    },
}


def test_machines(run, in_model):
    in_model.answers["status"] = {"machines": MACHINES}
    lines = run("list-machines")[1].splitlines()
    assert lines[1].split()[:4] == ["0", "started", "10.0.0.2", "m-0"]
    assert lines[2].endswith("building")
    assert yaml.safe_load(run("show-machine")[1])["machines"] == MACHINES
    assert run("show-machine", "7")[2] == "ERROR machine 7 not found\n"
    in_model.answers["add_machine"] = {"machines": ["2", "3"]}
    assert run("add-machine", "lxd", "-n", "2")[2].endswith("created machine 2\ncreated machine 3\n")
    assert run("add-machine", "-n", "0")[0] == 2
    assert run("remove-machine", "2", "3")[2] == "will remove machine 2\nwill remove machine 3\n"
    assert run("remove-machine", "2", "--force")[0] == 1
    assert [asked["force"] for asked in in_model.asked("remove_machine")] == [False, False]


def test_operations(run, in_model):
    in_model.answers["operations"] = OPERATIONS
    lines = run("operations")[1].splitlines()
    assert lines[1].split() == ["3", "failed", "t1", "3,4,5,6,7...", "act", "run", "on", "a/0,a/1"]
    assert len(lines) == 2
    for words in (["--actions", "juju-exec"], ["--machines", "0", "--apps", "b"]):
        assert set(json.loads(run("operations", *words, "--format", "json")[1])) == {"12"}
    assert set(yaml.safe_load(run("operations", "--units", "a/6", "--format", "yaml")[1])) == {"3"}
    for words in (["--status", "completed"], ["--units", "b/0"], ["--apps", "b"], ["--offset", "1"]):
        assert run("operations", *words)[2] == "no matching operations\n"
    assert "not a valid task status" in run("operations", "--status", "lost")[2]


def test_show_operation_waits(run, in_model, monkeypatch):
    answers = iter([{"status": "running"}, {"status": "completed"}])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    in_model.answers["operation"] = lambda **_: next(answers)
    assert run("show-operation", "3", "--watch")[1] == "status: completed\n"
    in_model.answers["operation"] = {"status": "running"}
    assert run("show-operation", "3")[1] == "status: running\n"
    assert "timed out waiting for operation 3" in run("show-operation", "3", "--wait", "0.01s")[2]
    assert run("show-operation", "3", "--wait", "1s", "--watch")[0] == 2
    assert run("show-task", "3", "--wait", "1s", "--watch")[0] == 2


def test_cancel_task(run, in_model):
    in_model.answers["task"] = TASKS["7"]
    in_model.answers["cancel_task"] = lambda id, **_: TASKS[id] if id == "7" else {**TASKS["8"], "status": "aborted"}
    _, out, err = run("cancel-task", "7", "8")
    assert yaml.safe_load(out)["8"]["status"] == "aborted"
    assert err == "WARNING task 7 could not be cancelled: it has completed\n"


def test_show_action(run, in_model):
    in_model.answers["actions"] = {"act": {"description": "Acts.", "properties": {"n": {"type": "integer"}}}}
    assert run("show-action", "a", "act")[1] == "Acts.\n\nArguments\nn:\n  type: integer\n"
    assert run("show-action", "a", "nope")[2] == "ERROR unknown action 'nope': a has act\n"


def test_what_cannot_be_scheduled(run, in_model, refusal):
    in_model.answers["run_action"] = refusal('unit "a/9" not found', "not-found")
    status, out, err = run("run", "a/9", "act")
    assert (status, out, err) == (0, "", 'Operation failed to schedule any tasks:\nunit "a/9" not found\n')
    assert "cannot specify both" in run("run", "a/0", "act", "--wait", "1s", "--background")[2]


def test_run_waits_for_a_minute(run, in_model):
    in_model.answers["run_action"] = {"tasks": {"a/0": "7"}}
    in_model.answers["wait_task"] = {**TASKS["7"], "status": "running"}
    status, _, err = run("run", "a/0", "act")
    assert status == 1
    assert "timed out waiting for results from: unit a/0\nThe task goes on: 'tabletop show-task 7 --watch'" in err
    assert 59 < in_model.asked("wait_task")[0]["timeout"] <= 60


STORAGE = {
    "storage": {
        "data/0": {
            "kind": "filesystem",
            "status": {"current": "attached"},
            "attachments": {"units": {"a/0": {"location": "/srv"}}},
        },
        "data/1": {"kind": "filesystem", "status": {"current": "detached"}},
    }
}


def test_storage(run, in_model, status):
    in_model.answers["storage"] = STORAGE
    lines = run("list-storage")[1].splitlines()
    assert lines[1].split() == ["a/0", "data/0", "filesystem", "/srv", "attached"]
    assert lines[2].split() == ["data/1", "filesystem", "detached"]
    assert set(yaml.safe_load(run("show-storage", "data/1")[1])) == {"data/1"}
    assert run("show-storage", "data/9")[2] == 'ERROR storage instance "data/9" not found\n'
    in_model.answers["status"] = {**status, "storage": STORAGE}
    assert "Storage ID" not in run("status")[1]
    assert "\na/0           data/0" in run("status", "--storage")[1]
    in_model.answers["storage"] = {}
    assert run("storage")[1] == "No storage to display.\n"
    in_model.answers["add_storage"] = ["data/2"]
    assert run("add-storage", "a/0", "data", "logs=2,1G")[2] == "added storage data/2 to a/0\n"
    assert in_model.asked("add_storage")[0]["storage"] == {"data": "1", "logs": "2,1G"}
    run("attach-storage", "a/1", "data/1")
    run("detach-storage", "data/0")
    assert run("remove-storage", "data/1", "--force")[0] == 1
    run("remove-storage", "data/1")
    assert [name for name, _ in in_model.calls[-3:]] == ["attach_storage", "detach_storage", "remove_storage"]


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ('status=="active"', True),
        ("status=='active' && name != store", False),
        ('status=="blocked" || life==alive', True),
        ('!(status=="active") || charm-name=="other"', False),
        ('status=="active" && (life=="dead" || !exposed=="true")', True),
    ],
)
def test_queries(run, in_model, status, query, holds):
    in_model.answers["status"] = status
    code, _, err = run("wait-for", "application", "store", "--query", query, "--timeout", "0s")
    assert code == (0 if holds else 1)
    assert err == (
        "application store: status active, status-message Ready\n"
        if holds
        else "ERROR timed out waiting for application 'store': status active, status-message Ready\n"
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status", "at 'its end': == or != was expected"),
        ('status=="a" name', "&& or || was expected"),
        ("(status==a", ") was expected"),
        ("status==", "a text was expected"),
        ("=", "a name was expected"),
        ('forEach(units, u => u.status=="active")', "forEach() isn't known"),
        ("colour==blue", "there is no 'colour' to ask for; there is name, life, status"),
    ],
)
def test_queries_that_make_no_sense(run, in_model, status, query, expected):
    in_model.answers["status"] = status
    code, _, err = run("wait-for", "application", "store", "--query", query)
    assert code == 2
    assert expected in err


def test_wait_for_what_comes_later(run, in_model, status, monkeypatch):
    answers = iter([{**status, "applications": {}}, status])
    in_model.answers["status"] = lambda **_: next(answers)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert run("wait-for", "unit", "agent/0", "--query", "workload-status==active")[0] == 0
    answers = iter([status])
    assert run("wait-for", "model", "iot")[0] == 0
    assert in_model.asked("status")[-1] == {"model": "iot"}


def test_show_unit_narrowed(run, in_model):
    relations = [
        {"endpoint": "a", "application-data": {"k": "v"}, "local-unit": {}, "related-units": {"x/0": {}, "x/1": {}}},
        {"endpoint": "b", "application-data": {}, "related-units": {}},
    ]
    in_model.answers["show_unit"] = lambda **_: {"u/0": {"relation-info": [dict(one) for one in relations]}}
    shown = json.loads(run("show-unit", "u/0", "--related-unit", "x/1", "--format", "json")[1])["u/0"]
    assert shown["relation-info"] == [{"endpoint": "a", "application-data": {"k": "v"}, "related-units": {"x/1": {}}}]
    shown = json.loads(run("show-unit", "u/0", "--endpoint", "b", "--app", "--format", "json")[1])["u/0"]
    assert shown["relation-info"] == [{"endpoint": "b", "application-data": {}}]
    assert yaml.safe_load(run("show-unit", "u/0", "--endpoint", "c")[1]) == {"u/0": {}}


def test_content_of_secrets(run, in_model, tmp_path, monkeypatch):
    in_model.answers["add_secret"] = "secret:abc"
    (tmp_path / "key").write_text("pem")
    monkeypatch.setattr(sys, "stdin", io.StringIO("user: me\n"))
    run("add-secret", "s", f"key#file={tmp_path}/key", "blob#base64=dGV4dA==", "--file", "-")
    assert in_model.asked("add_secret")[0]["content"] == {"user": "me", "key": "pem", "blob": "text"}
    assert "can't read" in run("add-secret", "s", "key#file=/nonexistent")[2]
    assert "isn't base64 of text" in run("add-secret", "s", "key#base64=/w==")[2]
    assert "isn't base64 of text" in run("add-secret", "s", "key#base64=?")[2]
    assert "expected KEY=VALUE, KEY#file=PATH" in run("add-secret", "s", "key#gzip=x")[2]


def test_yaml_from_standard_input(run, in_model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("key: 1m\n"))
    run("model-config", "--file", "-", "other=2")
    assert in_model.asked("model_config")[0]["values"] == {"key": "1m", "other": "2"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("[1]\n"))
    assert "standard input:1: must be a mapping" in run("config", "a", "--file", "-")[2]


@pytest.mark.parametrize("words", [["status"], ["status", "-m", "m"], ["add-model", "x"]])
def test_not_root(run, home, monkeypatch, words):
    (home / "state").mkdir(mode=0o700)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.access", lambda *_: False)
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert "so it must run as root: sudo " in err


def test_several_models_are_shown(run, daemon, status):
    daemon.answers.update(status=status, secrets={}, models=[{"name": "m", "uuid": "t"}, {"name": "n", "uuid": "u"}])
    assert set(json.loads(run("show-model", "m", "tabletop:admin/n", "--format", "json")[1])) == {"m", "n"}
    assert "controller other not found" in run("models", "-c", "other")[2]


def test_a_model_that_can_not_be_read_is_listed_beside_the_others(run, daemon, status):
    daemon.answers.update(status=status, models=[{"name": "m", "uuid": ""}, {"name": "n", "uuid": "u"}])
    assert [line.split()[-1] for line in run("models")[1].splitlines()[3:]] == ["error", "available"]
    assert [asked["model"] for asked in daemon.asked("status")] == ["n"]
    listed = json.loads(run("models", "--format", "json")[1])["models"]
    assert listed[0]["status"] == {"current": "error", "message": "its state can't be read; every other word says why"}


def test_faults_on_purpose(run, in_model):
    in_model.answers["kill_machine"] = {"machine": "0"}
    assert run("kill-machine", "a/0")[2] == "killed machine 0; it comes back\n"
    assert run("kill-machine", "0", "--for", "1m30s")[2] == "killed machine 0; it is down for 90 s\n"
    assert "until 'tabletop start-machine'" in run("kill-machine", "0", "--stay-down")[2]
    assert [asked["stay"] for asked in in_model.asked("kill_machine")] == [False, False, True]
    assert run("kill-machine", "0", "--for", "1s", "--stay-down")[0] == 2
    in_model.answers["start_machine"] = {"machine": "0"}
    assert run("start-machine", "0")[2] == "starting machine 0\n"
    in_model.answers["cut_network"] = "machine 0: cut off from machine 1"
    assert run("cut-network", "a/0", "b/0", "--for", "30s")[2] == "machine 0: cut off from machine 1, for 30 s\n"
    assert in_model.asked("cut_network")[-1]["seconds"] == 30
    assert run("cut-network", "a/0", "b/0", "--outside")[0] == 2
    for count, said in ((0, "nothing was cut"), (1, "healed one cut"), (3, "healed 3 cuts")):
        in_model.answers["heal_network"] = count
        assert run("heal-network")[2] == f"{said}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_without_room_is_told_in_a_line(run, daemon, home):
    state = home / "state"
    state.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", state], check=True)
    try:
        (state / "file").write_bytes(b"x" * 4096)
        daemon.answers["add_model"] = {"name": "trial", "uuid": "u"}
        daemon.answers["models"] = []
        status, _, err = run("add-model", "trial")
    finally:
        subprocess.run(["umount", state], check=True)
    assert status == 1
    assert err.splitlines()[-1].startswith("ERROR ")
    assert "No space left on device" in err
