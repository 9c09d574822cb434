#!/usr/bin/python3
"""A client of AMQP 1.0 that is not ours: Apache Qpid Proton, the distribution's package.

It runs under the system's Python, which has the package, and is told on its command line what to do:

    amqp10.py send PORT VHOST USER PASSWORD ADDRESS BODY FORM CONTENT_TYPE
    amqp10.py receive PORT VHOST USER PASSWORD ADDRESS

An empty user is nobody (SASL ANONYMOUS). One line of JSON says what came of it: ``{"state": "accepted"}``,
``{"body": ..., "id": ..., "subject": ...}``, or ``{"error": ...}``.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__)
PACKAGE = "python3-qpid-proton"
_TIMEOUT_S = 15


FORMS: dict[str, Callable[[str], Any]] = {
    "data": str.encode,
    "string": str,
    "binary": str.encode,
    "map": lambda body: {"body": body},
}
"""What a body is sent as: a data section, or one value."""


def send(
    port: int,
    vhost: str,
    user: str,
    password: str,
    address: str,
    body: str,
    form: str = "string",
    content_type: str = "",
) -> dict[str, Any]:
    """Send a message, its body in one of the forms."""
    return _run("send", str(port), vhost, user, password, address, body, form, content_type)


def receive(port: int, vhost: str, user: str, password: str, address: str) -> dict[str, Any]:
    """Receive a message and accept it."""
    return _run("receive", str(port), vhost, user, password, address)


def _run(*arguments: str) -> dict[str, Any]:
    result = subprocess.run(
        ["/usr/bin/python3", PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if "No module named 'proton'" in result.stderr:
        raise FileNotFoundError(f"Qpid Proton is needed: apt-get install {PACKAGE}")
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout)


def main(word: str, port: str, vhost: str, user: str, password: str, address: str, *more: str) -> dict[str, Any]:
    import proton
    from proton.handlers import MessagingHandler
    from proton.reactor import Container

    class Client(MessagingHandler):
        """Does one thing on one link, and notes what comes of it."""

        def __init__(self) -> None:
            super().__init__(prefetch=0)
            self.answer: dict[str, Any] = {}
            self._sent = False

        def on_start(self, event: Any) -> None:
            self._timer = event.container.schedule(_TIMEOUT_S, self)
            self._connection = event.container.connect(
                f"amqp://127.0.0.1:{port}",
                reconnect=False,
                virtual_host=f"vhost:{vhost}",
                sasl_enabled=True,
                allow_insecure_mechs=True,
                allowed_mechs="PLAIN" if user else "ANONYMOUS",
                **({"user": user, "password": password} if user else {}),
            )
            if word == "receive":
                event.container.create_receiver(self._connection, address).flow(1)
            else:
                event.container.create_sender(self._connection, address)

        def on_sendable(self, event: Any) -> None:
            if self._sent or self.answer:
                return
            body, form, content_type = more
            message = proton.Message(body=FORMS[form](body), inferred=form == "data", durable=True)
            if content_type:
                message.content_type = content_type
            event.sender.send(message)
            self._sent = True

        def on_accepted(self, event: Any) -> None:
            self._end({"state": "accepted"})

        def on_rejected(self, event: Any) -> None:
            self._end({"state": "rejected"})

        def on_released(self, event: Any) -> None:
            self._end({"state": "released"})

        def on_message(self, event: Any) -> None:
            message = event.message
            body = message.body if isinstance(message.body, str) else bytes(message.body).decode()
            self._end({"body": body, "id": message.id, "subject": message.subject})

        def on_link_error(self, event: Any) -> None:
            self._fail(event.link.remote_condition)

        def on_session_error(self, event: Any) -> None:
            self._fail(event.session.remote_condition)

        def on_connection_error(self, event: Any) -> None:
            self._fail(event.connection.remote_condition)

        def on_transport_error(self, event: Any) -> None:
            self._fail(event.transport.condition)

        def on_timer_task(self, event: Any) -> None:
            self._end({"error": f"nothing came of it within {_TIMEOUT_S} s"})

        def _fail(self, condition: Any) -> None:
            self._end({"error": f"{condition.name}: {condition.description}"})

        def _end(self, answer: dict[str, Any]) -> None:
            if not self.answer:
                self.answer = answer
                self._timer.cancel()
                self._connection.close()

    client = Client()
    Container(client).run()
    return client.answer


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
