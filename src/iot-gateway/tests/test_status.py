"""The status of a running relay, as it is asked for."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from iot_gateway import status


def test_an_answer_that_is_there_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, answered = tmp_path / "status.sock", threading.Event()

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b'{"readings": 3}')
        answered.set()

    class Late(socket.socket):
        def connect(self, address: Any) -> None:
            super().connect(address)
            assert answered.wait(5)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        monkeypatch.setattr(status.socket, "socket", Late)
        assert status.ask(path) == {"readings": 3}
        thread.join()
