"""Zeppelin's REST interface."""

import json
import time
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import requests

from iot_charm.errors import IotCharmError

ENDED = frozenset(("FINISHED", "ERROR", "ABORT"))


class ZeppelinError(IotCharmError):
    """Zeppelin did not do what was asked; the text says why."""


@dataclass(frozen=True)
class Result:
    """How a paragraph's run ended."""

    status: str
    seconds: float


class Server:
    """A Zeppelin server, as a user who logged in sees it.

    Args:
        url: ``http://host:port``.
        user: to log in as.
        password: of that user.

    Raises:
        ZeppelinError: the server does not answer, or refuses the log-in.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._session = requests.Session()
        try:
            self._call("POST", "login", data={"userName": user, "password": password})
        except ZeppelinError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the server forgets the log-in after a while."""
        self._session.close()

    def version(self) -> str:
        """Return the server's version."""
        return str(self._call("GET", "version")["version"])

    def notes(self) -> dict[str, str]:
        """Return the notes' names (paths without the leading slash) and identifiers."""
        found: list[dict[str, str]] = self._call("GET", "notebook")
        names = {entry["id"]: entry.get("path") or entry.get("name") or "" for entry in found}
        return {
            name.lstrip("/"): identifier for identifier, name in names.items() if not name.lstrip("/").startswith("~")
        }

    def export(self, identifier: str) -> dict[str, Any]:
        """Return a note, with what its last run left."""
        answer = self._request("GET", f"notebook/export/{quote(identifier)}").json()
        # The server wraps the note into its usual answer, as a text.
        content: Any = answer.get("body", answer)
        return _as_object(content)

    def import_note(self, note: dict[str, Any]) -> str:
        """Add a note and return its identifier."""
        return str(self._call("POST", "notebook/import", json=note))

    def delete(self, identifier: str) -> None:
        """Delete a note for good."""
        self._call("DELETE", f"notebook/{quote(identifier)}")

    def paragraphs(self, identifier: str) -> list[dict[str, Any]]:
        """Return a note's paragraphs, at least with ``id``, ``title`` and ``status``."""
        return self._call("GET", f"notebook/{quote(identifier)}")["paragraphs"]

    def run(self, note: str, paragraph: str, forms: dict[str, str], *, timeout_s: float) -> Result:
        """Run a paragraph and wait for its end.

        Args:
            note: the note's identifier.
            paragraph: the paragraph's.
            forms: values of its dynamic forms.
            timeout_s: after which it is stopped.

        Raises:
            ZeppelinError: it could not be run, or took too long.
        """
        started = time.monotonic()
        path = f"notebook/job/{quote(note)}/{quote(paragraph)}"
        self._call("POST", path, json={"params": forms})
        pause = 0.1
        while time.monotonic() - started < timeout_s:
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
            status = str(self._call("GET", path)["status"])
            if status in ENDED:
                return Result(status, time.monotonic() - started)
        self._call("DELETE", path)
        raise ZeppelinError(f"did not end within {timeout_s:.0f} s and was stopped")

    def ensure_interpreter(self, name: str, properties: dict[str, str | bool]) -> bool:
        """Give an interpreter's setting these values; its processes start anew if one changes.

        Returns:
            Whether one changed.
        """
        setting: dict[str, Any] = self._call("GET", f"interpreter/setting/{quote(name)}")
        changed = False
        for key, value in properties.items():
            known = setting["properties"].setdefault(key, {"name": key, "value": "", "type": "string"})
            if str(known.get("value")).lower() != str(value).lower():
                known["value"] = value
                changed = True
        if changed:
            self._call("PUT", f"interpreter/setting/{quote(name)}", json=setting)
        return changed

    def restart_interpreter(self, name: str) -> None:
        """End an interpreter's processes; the next paragraph starts new ones."""
        self._call("PUT", f"interpreter/setting/restart/{quote(name)}", json={})

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        return self._request(method, path, **arguments).json().get("body")

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            # Without a session the server answers with a redirection to its log-in.
            answer = self._session.request(
                method, f"{self._url}/api/{path}", timeout=60, allow_redirects=False, **arguments
            )
        except requests.RequestException as error:
            raise ZeppelinError(f"the server does not answer: {error}") from error
        if answer.status_code != requests.codes.ok and answer.status_code != requests.codes.created:
            raise ZeppelinError(f"{method} {path}: HTTP {answer.status_code} {_message(answer)}".strip())
        return answer


def answers(url: str) -> bool:
    """Tell whether a server answers at ``url``."""
    try:
        return requests.get(f"{url}/api/version", timeout=15).ok
    except requests.RequestException:
        return False


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json().get("message") or "")
    except (requests.JSONDecodeError, AttributeError):
        return ""


def _as_object(content: Any) -> dict[str, Any]:
    try:
        found: Any = json.loads(content) if isinstance(content, str) else content
    except json.JSONDecodeError as error:
        raise ZeppelinError(f"an exported note can't be read: {error}") from error
    if not isinstance(found, dict):
        raise ZeppelinError("an exported note is no object")
    return cast("dict[str, Any]", found)
