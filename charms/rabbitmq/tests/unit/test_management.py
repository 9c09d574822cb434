"""What is told of a refusal; what is asked of a real broker is in tests/functional/rabbitmq."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from management import Management, ManagementError


class Refusing(BaseHTTPRequestHandler):
    """Refuses everything, and repeats what it was asked."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(400)
        self.send_header("Content-Length", str(len(asked)))
        self.end_headers()
        self.wfile.write(asked)

    def do_PUT(self) -> None:
        self.do_POST()

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Keep still."""


@pytest.fixture
def management() -> Iterator[Management]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Management(f"http://127.0.0.1:{server.server_port}", "admin", "x")
        server.shutdown()
        thread.join()


def test_a_refusal_repeats_no_password_nor_the_hash_of_one(management: Management):
    with pytest.raises(ManagementError, match=r"refused POST definitions: 400, see RabbitMQ's log") as refused:
        management.declare({"users": [{"name": "gateway.a", "password_hash": "A" * 48}]})
    assert "AAAA" not in str(refused.value)
    with pytest.raises(ManagementError, match=r"refused PUT users/gateway: 400, see RabbitMQ's log") as refused:
        management.ensure_user("gateway", "open sesame")
    assert "sesame" not in str(refused.value)


def test_another_refusal_says_why(management: Management):
    with pytest.raises(ManagementError, match=r"refused POST definitions: 400 .*no-such-vhost"):
        management.declare({"queues": [{"vhost": "no-such-vhost"}]})
