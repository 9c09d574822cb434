"""The client's end of the API: a daemon is started if none answers; what goes wrong is told with its remedy."""

import fcntl
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tabletop
from tabletop.client import Client, DaemonError, RemoteError
from tabletop.codehash import code_hash
from tabletop.engine.sockets import Listener
from tabletop.paths import Paths
from tabletop.stopping import stop_daemon, why_unfit


@pytest.fixture
def code(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, which daemons run, so that nothing changes but what the test changes."""
    package = home / "code/tabletop"
    shutil.copytree(Path(tabletop.__file__).parent, package)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr("tabletop.client.code_hash", lambda: code_hash(package))
    yield package
    code_hash.cache_clear()


@pytest.fixture
def client(home: Path, code: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client, whose daemon ends with the test."""
    made = Client(Paths.from_environment())
    yield made
    monkeypatch.undo()
    stop_daemon(made, print)


def test_progress_then_result(client, daemon):
    daemon.answers["work"] = lambda number: number + 1
    daemon.progress["work"] = ["one", "two"]
    said: list[str] = []
    assert client.call("work", said.append, number=3) == 4
    assert said == ["one", "two"]
    assert client.call("work", number=1) == 2


def test_refusal(client, daemon, refusal):
    daemon.answers["work"] = refusal("not so", "not-found")
    with pytest.raises(RemoteError, match="not so") as error:
        client.call("work")
    assert error.value.kind == "not-found"


@pytest.mark.parametrize("answer", [b"", b"no json\n", b'{"progress": "x"}\n'])
def test_a_daemon_that_goes_away(client, home, answer):
    (home / "run").mkdir()
    (home / "run/daemon.log").write_text("\n".join(f"line {number}" for number in range(30)))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "run/api.sock"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(DaemonError, match="went away") as error:
            client.call("work")
        thread.join()
    assert str(error.value).endswith("line 29")
    assert "line 3\n" not in str(error.value)


def test_the_socket_s_path_may_be_longer_than_an_address(home):
    paths = Paths(run=home / ("x" * 120))
    paths.run.mkdir()

    def answer(connection: socket.socket) -> None:
        with connection.makefile("rwb") as stream:
            stream.readline()
            stream.write(b'{"result": "here"}\n')

    listener = Listener(paths.run / "api.sock", answer)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    try:
        assert Client(paths).request("ping") == "here"
    finally:
        listener.stop()
        thread.join()


def test_not_root(client, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DaemonError, match="must run as root: sudo"):
        client.call("models")


def test_a_socket_of_somebody_else(client, daemon, monkeypatch):
    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(DaemonError, match="must run as root: sudo"):
        client.call("models")


def test_no_daemon(client):
    assert not client.running()


def test_a_real_daemon_is_started_and_outlives_its_client(client):
    assert client.start()
    assert not client.start()
    pid = client.call("ping")["pid"]
    assert pid != os.getpid()
    assert client.call("models") == []
    with socket.socket(socket.AF_UNIX) as watch:
        watch.connect(str(client.socket_path))
        client.call("shutdown")
    os.waitpid(pid, 0)
    assert not client.running()


def test_two_clients_at_once_start_one_daemon(client):
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(client.call("ping")["pid"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert len(set(answers)) == 1


def test_a_daemon_that_can_not_start_says_why(client, home):
    (home / "state").write_text("a file where a folder should be")
    with pytest.raises(DaemonError, match=r"^.*/state can't be written to \(File exists\): make it writable, .*$"):
        client.call("models")
    (home / "state").unlink()
    # One that ends for a reason that nobody thought of.
    (home / "run/api.sock").mkdir()
    with pytest.raises(DaemonError, match="ended at its start") as error:
        client.call("models")
    assert "daemon.log" in str(error.value)
    assert "IsADirectoryError" in str(error.value)


def test_a_run_directory_that_can_not_be_made(client, home):
    (home / "run").write_text("a file where a folder should be")
    with pytest.raises(DaemonError, match=r"/run can't be written to \(File exists\): .* set TABLETOP_RUN to another"):
        client.call("models")


def test_a_daemon_of_other_code_is_replaced(client, code, monkeypatch):
    assert client.start()
    first = client.call("ping")["pid"]
    said: list[str] = []
    assert client.call("models", said.append) == []
    assert said == [], "the daemon read the disk too"
    (code / "engine/more.py").write_text("")
    code_hash.cache_clear()
    assert client.call("models", said.append) == []
    assert said == ["tabletop's code has changed: its daemon is replaced; machines run on"]
    os.waitpid(first, 0)
    second = client.call("ping")["pid"]
    assert second != first
    (code / "engine/more.py").write_text("1")
    code_hash.cache_clear()
    monkeypatch.setattr("tabletop.client.why_unfit", lambda: "SyntaxError: oh no")
    said.clear()
    assert client.call("models", said.append) == []
    assert "can't be run (SyntaxError: oh no): its daemon goes on with the code it has" in said[0]
    assert client.call("ping")["pid"] == second


def test_code_that_can_not_be_run_is_found_out(tmp_path, monkeypatch):
    assert why_unfit() is None
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert why_unfit() == "exit status 1"


def test_the_code_s_hash(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "commands").mkdir()
    (tmp_path / "engine/a.py").write_text("1")
    code_hash.cache_clear()
    before = code_hash(tmp_path)
    (tmp_path / "commands/b.py").write_text("a client's own")
    code_hash.cache_clear()
    assert code_hash(tmp_path) == before
    (tmp_path / "engine/a.py").write_text("2")
    code_hash.cache_clear()
    assert code_hash(tmp_path) != before
    code_hash.cache_clear()


def test_one_that_another_client_started_is_waited_for(client, home, daemon, monkeypatch):
    (home / "state").write_text("a file where a folder should be")
    answers = iter([None, None, None, None, 1, 1])
    monkeypatch.setattr(client, "pid", lambda: next(answers))
    with (home / "run/daemon.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not client.start()


def test_a_daemon_that_never_answers(client, monkeypatch):
    monkeypatch.setattr("tabletop.client.START_TIMEOUT_S", 0.3)
    monkeypatch.setattr(client, "pid", lambda: None)
    with pytest.raises(DaemonError, match="did not answer within"):
        client.start()
