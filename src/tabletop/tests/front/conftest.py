"""A daemon that answers as a test tells it to, on a real socket, and a charm's folder to change at will."""

import json
import socketserver
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tabletop import cli
from tabletop.version import host_architecture

CHARMS = Path(__file__).parent.parent / "charms"


class FakeDaemon:
    """Answers each method with a value, or what a function of the parameters returns; notes what was asked."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, Any] = {
            "ping": {"version": "test", "pid": 1},
            "architecture": host_architecture(),
        }
        self.progress: dict[str, list[str]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        daemon = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline()
                if not line:
                    return
                request = json.loads(line)
                for answer in daemon.answer(request["method"], request["params"]):
                    self.wfile.write(json.dumps(answer).encode() + b"\n")

        path.parent.mkdir(parents=True, exist_ok=True)
        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, method: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if method != "ping":
            self.calls.append((method, params))
        for line in self.progress.get(method, []):
            yield {"progress": line}
        value = self.answers.get(method)
        if callable(value):
            value = value(**params)
        yield {"error": value.text, "kind": value.kind} if isinstance(value, Refusal) else {"result": value}

    def asked(self, method: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == method]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Refusal:
    def __init__(self, text: str, kind: str = "TabletopError") -> None:
        self.text = text
        self.kind = kind


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tabletop of the test's own."""
    for name in ("STATE", "CACHE", "RUN"):
        monkeypatch.setenv(f"TABLETOP_{name}", str(tmp_path / name.lower()))
    monkeypatch.delenv("JUJU_MODEL", raising=False)
    return tmp_path


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(home / "run/api.sock")
    yield fake
    fake.close()


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit status, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        status = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def zip_charm(path: Path, **files: object) -> Path:
    """Make a packed charm from the contents of its files; a mapping is written as YAML, `_` in a name is a dot."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            archive.writestr(name.replace("_", "."), text)
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Path]:
    """Make a packed charm of metadata, and options and resources if wanted."""

    def make(name: str, config: dict[str, Any] | None = None, **metadata: Any) -> Path:
        files: dict[str, Any] = {"metadata_yaml": {"name": name, **metadata}}
        if config:
            files["config_yaml"] = {"options": config}
        return zip_charm(tmp_path / f"{name}.charm", **files)

    return make


@pytest.fixture
def charms() -> Path:
    """The charms for trying tabletop."""
    return CHARMS


@pytest.fixture
def status() -> dict[str, Any]:
    """A model's status as the daemon answers it."""
    return yaml.safe_load((Path(__file__).parent / "status.yaml").read_text())
