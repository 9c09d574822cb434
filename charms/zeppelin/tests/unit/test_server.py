"""The REST client against a small server that answers as Zeppelin does."""

import http.server
import json
import threading

import pytest

import server
from server import Server, ZeppelinError


class Zeppelin:
    """A few notes, and the states that a paragraph goes through."""

    def __init__(self):
        self.states = []
        self.calls = []
        self.setting = {"id": "python", "properties": {"a": {"name": "a", "value": "python"}, "b": {"value": True}}}
        self.export = json.dumps({"name": "x", "paragraphs": []})

    def answer(self, method, path, body):
        """Return the HTTP status and the body of the answer, if it is JSON."""
        self.calls.append((method, path, body))
        match method, path.split("/")[2:]:
            case "POST", ["login"]:
                return (200, {}) if "password=right" in body else (403, None)
            case "GET", ["version"]:
                return 200, {"version": "0.10.0"}
            case "GET", ["notebook"]:
                return 200, [{"id": "1", "path": "/a/b"}, {"id": "2", "path": "/~Trash/c"}, {"id": "3", "name": "d"}]
            case "POST", ["notebook", "import"]:
                return 200, "new"
            case "GET", ["notebook", "export", "1"]:
                return 200, self.export
            case "GET", ["notebook", "1"]:
                return 200, {"paragraphs": [{"id": "p"}]}
            case "GET", ["notebook", "job", "1", "p"]:
                return 200, {"status": self.states.pop(0) if self.states else "RUNNING"}
            case "GET", ["interpreter", "setting", "python"]:
                return 200, self.setting
            case "GET", ["notebook", "gone"]:
                return 404, None
            case _:
                return 200, None


@pytest.fixture
def zeppelin():
    fake = Zeppelin()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, answer = fake.answer(self.command, self.path, body)
            self.send_response(status)
            self.end_headers()
            message = {"message": "no such note"} if status == 404 else {"body": answer}
            self.wfile.write(json.dumps(message).encode() if status != 403 else b"<html>")

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the library's names

        def log_message(self, *_args): ...

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    fake.url = f"http://127.0.0.1:{listener.server_port}"
    yield fake
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def connection(zeppelin):
    found = Server(zeppelin.url, "admin", "right")
    yield found
    found.close()


def test_a_wrong_password_is_refused(zeppelin):
    with pytest.raises(ZeppelinError, match="POST login: HTTP 403"):
        Server(zeppelin.url, "admin", "wrong")


def test_a_server_that_is_not_there():
    with pytest.raises(ZeppelinError, match="the server does not answer"):
        Server("http://127.0.0.1:9", "admin", "x")
    assert not server.answers("http://127.0.0.1:9")


def test_names_are_paths_and_what_is_in_the_bin_is_gone(zeppelin, connection):
    assert connection.notes() == {"a/b": "1", "d": "3"}
    assert connection.version() == "0.10.0"
    assert server.answers(zeppelin.url)


def test_notes_come_and_go(zeppelin, connection):
    assert connection.import_note({"name": "n"}) == "new"
    assert connection.export("1") == {"name": "x", "paragraphs": []}
    assert connection.paragraphs("1") == [{"id": "p"}]
    connection.delete("1")
    assert zeppelin.calls[-1][:2] == ("DELETE", "/api/notebook/1")


@pytest.mark.parametrize("body", ["no json", "[]"])
def test_an_export_that_is_no_note(zeppelin, connection, body):
    zeppelin.export = body
    with pytest.raises(ZeppelinError, match="exported note"):
        connection.export("1")


def test_an_error_carries_the_servers_words(connection):
    with pytest.raises(ZeppelinError, match="HTTP 404 no such note"):
        connection.paragraphs("gone")


def test_a_run_is_followed_to_its_end(zeppelin, connection):
    zeppelin.states = ["PENDING", "RUNNING", "ERROR"]
    assert connection.run("1", "p", {"node": "n"}, timeout_s=20).status == "ERROR"
    posted = [call for call in zeppelin.calls if call[0] == "POST"][-1]
    assert posted[1:] == ("/api/notebook/job/1/p", '{"params": {"node": "n"}}')


def test_a_run_that_takes_too_long_is_stopped(zeppelin, connection):
    with pytest.raises(ZeppelinError, match="did not end within 1 s"):
        connection.run("1", "p", {}, timeout_s=1)
    assert zeppelin.calls[-1][:2] == ("DELETE", "/api/notebook/job/1/p")


def test_an_interpreter_is_set_up_once(zeppelin, connection):
    assert connection.ensure_interpreter("python", {"a": "/usr/bin/python3", "b": True, "c": "new"})
    method, path, body = zeppelin.calls[-1]
    assert (method, path) == ("PUT", "/api/interpreter/setting/python")
    zeppelin.setting = json.loads(body)
    assert zeppelin.setting["properties"]["a"] == {"name": "a", "value": "/usr/bin/python3"}
    assert not connection.ensure_interpreter("python", {"a": "/usr/bin/python3", "b": True, "c": "new"})
    connection.restart_interpreter("python")
    assert zeppelin.calls[-1][:2] == ("PUT", "/api/interpreter/setting/restart/python")
