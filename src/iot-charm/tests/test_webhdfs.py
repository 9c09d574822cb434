"""What is asked of WebHDFS, by a NameNode's web server that keeps its files in memory."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from iot_charm.webhdfs import PathStatus, WebHdfs, WebHdfsError


class NameNode(BaseHTTPRequestHandler):
    nodes: ClassVar[dict[str, dict[str, Any]]] = {}
    contents: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = url.path.removeprefix("/webhdfs/v1")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if not self.is_chunked else self.chunks()
        nodes, operation = self.nodes, query["op"]
        if "data" not in query and operation in {"CREATE", "OPEN"}:
            self.answer(307, {}, location=f"{self.base}{self.path}&data=1")
        elif operation == "MKDIRS":
            nodes[path] = {
                "type": "DIRECTORY",
                "owner": query["user.name"],
                "group": "supergroup",
                "permission": "755",
                "length": 0,
                "replication": 0,
            }
            self.answer(200, {"boolean": True})
        elif operation == "CREATE":
            nodes[path] = {
                "type": "FILE",
                "owner": query["user.name"],
                "group": "supergroup",
                "permission": "644",
                "length": len(body),
                "replication": int(query["replication"]),
            }
            self.contents[path] = body
            self.answer(201, {})
        elif operation == "DELETE":
            self.answer(200, {"boolean": nodes.pop(path, None) is not None})
        elif path not in nodes:
            error = {"exception": "FileNotFoundException", "message": f"File does not exist: {path}\nat line 1"}
            self.answer(404, {"RemoteException": error})
        elif operation == "OPEN":
            self.answer(200, self.contents[path])
        elif operation == "GETFILESTATUS":
            self.answer(200, {"FileStatus": nodes[path]})
        elif operation == "LISTSTATUS":
            found = [{"pathSuffix": name.rpartition("/")[2], **node} for name, node in nodes.items() if name != path]
            self.answer(200, {"FileStatuses": {"FileStatus": found}})
        else:
            assert operation in {"SETPERMISSION", "SETOWNER"}
            nodes[path].update({key: query[key] for key in ("permission", "owner") if key in query})
            self.answer(200, {})

    do_GET = do_PUT = do_DELETE = handle_any  # noqa: N815 - as the library names them

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    @property
    def is_chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding") == "chunked"

    def chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, status: int, body: dict[str, Any] | bytes, *, location: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if isinstance(body, dict):
            self.send_header("Content-Type", "application/json")
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def hdfs():
    NameNode.nodes.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), NameNode)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = WebHdfs("127.0.0.1", server.server_address[1], user="hdfs", timeout_s=5)
    yield client
    client._client._session.close()  # pyright: ignore
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_directory_gets_its_owner_and_mode_once(hdfs: WebHdfs):
    assert hdfs.status("/user/flume") is None
    assert hdfs.ensure_directory("/user/flume", owner="flume", mode="755")
    assert hdfs.status("/user/flume") == PathStatus(True, "flume", "supergroup", "755", 0, 0)
    NameNode.nodes["/user/flume"]["permission"] = "700"
    assert not hdfs.ensure_directory("/user/flume", owner="flume", mode="755")
    assert NameNode.nodes["/user/flume"]["permission"] == "700"


def test_a_directory_that_was_left_half_made_is_finished(hdfs: WebHdfs):
    hdfs.ensure_directory("/user/flume", owner="hdfs", mode="700")
    assert hdfs.ensure_directory("/user/flume", owner="flume", mode="755")
    assert NameNode.nodes["/user/flume"]["owner"] == "flume"


def test_files_are_written_read_listed_and_deleted(hdfs: WebHdfs):
    hdfs.ensure_directory("/d", owner="hdfs", mode="755")
    hdfs.write("/d/a", b"x" * 100000, replication=2)
    found = hdfs.status("/d/a")
    assert found is not None
    assert (found.is_directory, found.length, found.replication) == (False, 100000, 2)
    assert hdfs.read("/d/a") == b"x" * 100000
    assert hdfs.names("/d") == ["a"]
    assert hdfs.delete("/d/a")
    assert not hdfs.delete("/d/a")


def test_a_refusal_is_one_line_with_the_path(hdfs: WebHdfs):
    with pytest.raises(WebHdfsError, match=r"^/d/none: File does not exist: /d/none$"):
        hdfs.read("/d/none")


def test_a_namenode_that_is_gone():
    with pytest.raises(WebHdfsError, match=r"^/: .*refused"):
        WebHdfs("127.0.0.1", 9, user="hdfs", timeout_s=1).status("/")
