"""The API over its socket, in this process."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World

from tabletop.client import Client, RemoteError
from tabletop.engine.rpc import ApiServer
from tabletop.engine.sockets import Listener
from tabletop.paths import Paths


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    paths = Paths(world.directory / "state", world.directory / "cache", world.directory / "run")
    paths.run.mkdir()
    server = ApiServer(world.controller, paths.run / "api.sock", "3.6.9")
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield Client(paths)
    server.stop()
    thread.join()
    assert not (paths.run / "api.sock").exists()


def raw(path: Path, line: bytes) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(line)
        with connection.makefile("rb") as answer:
            return json.loads(answer.readline())


def test_results_progress_and_errors(world: World, client: Client) -> None:
    assert client.call("ping")["version"] == "3.6.9"
    world.deploy("provider", "db")
    world.settle()
    told: list[str] = []
    client.call("destroy_model", told.append, name="m")
    assert told == ["destroying machine m-0"]
    for method, params, kind in (
        ("nope", {}, "TabletopError"),
        ("stop", {}, "TabletopError"),
        ("_model", {"name": "m"}, "TabletopError"),
        ("status", {}, "TabletopError"),
        ("status", {"model": "m"}, "not-found"),
        ("add_model", {"name": 7}, "internal"),
    ):
        with pytest.raises(RemoteError) as caught:
            client.call(method, None, **params)
        assert caught.value.kind == kind, method


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"params": {}}\n', b'{"method": "status", "params": 5}\n'])
def test_what_is_no_request_is_answered_all_the_same(client: Client, line: bytes) -> None:
    assert "not a request" in str(raw(client.socket_path, line)["error"])


def test_shutdown_answers_before_it_ends(client: Client) -> None:
    assert client.call("shutdown") is None


def test_a_client_that_goes_away_ends_its_wait(world: World, client: Client) -> None:
    world.behave("any", "action-greet", "sleep 30")
    world.deploy("provider", "db")
    world.settle()
    world.controller.run_action("m", ["db/0"], "greet", {"count": 1})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(client.socket_path))
        request = {"method": "wait_task", "params": {"model": "m", "id": 1}}
        connection.sendall(json.dumps(request).encode() + b"\n")

    def waiting() -> bool:
        return any(thread.name == "api.sock" for thread in threading.enumerate())

    world.until(lambda: not waiting(), "the wait's end")


def test_a_listener_that_is_stopped_twice_writes_to_no_file_that_came_after_it(short_path: Path) -> None:
    listener = Listener(short_path / "it.sock", lambda _: None)
    listener.stop()
    listener.serve()
    others = [os.open(short_path / f"other-{number}", os.O_RDWR | os.O_CREAT) for number in range(20)]
    try:
        listener.stop()
    finally:
        for other in others:
            os.close(other)
    assert [path.name for path in short_path.iterdir() if path.stat().st_size] == []
