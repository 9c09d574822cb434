"""Secrets that the operator owns and grants to applications."""

import argparse
import base64
from pathlib import Path
from typing import Any

from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format, add_model, pair, read_yaml
from tabletop.format import out, result, table
from tabletop.session import Session

_CONTENT = """\
KEY#file=PATH takes a file's text; KEY#base64=TEXT is decoded first, and must be text in UTF-8 then."""


class _WithContent(Command):
    """A verb that takes a secret's content."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("secret", metavar="NAME")
        parser.add_argument("content", nargs="*", metavar="KEY=VALUE | KEY#file=PATH | KEY#base64=TEXT")
        parser.add_argument("--file", metavar="FILE", help="YAML file of keys and values; - is standard input")
        parser.add_argument("--info", help="a description")

    def content(self, args: argparse.Namespace) -> dict[str, str]:
        """Return what the arguments and the file hold."""
        data = read_yaml(args.file) if args.file else {}
        values = {str(key): str(value) for key, value in data.items()}
        values.update(_content(text) for text in args.content)
        return values


class AddSecret(_WithContent):
    """`add-secret`."""

    notes = _CONTENT + "\nIt prints the secret's URI, which options of type secret and grant-secret take."
    examples = (
        "add-secret database password=hunter2",
        "add-secret database --file content.yaml --info 'of the backup'",
    )

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Add it, and print its URI."""
        content = self.content(args)
        if not content:
            raise UsageError("a secret needs content: KEY=VALUE, or --file")
        uri = session.call(
            "add_secret", model=session.model(args.model), name=args.secret, content=content, info=args.info
        )
        out(uri if isinstance(uri, str) else uri["uri"])


class UpdateSecret(_WithContent):
    """`update-secret`."""

    notes = _CONTENT + "\nOther content makes a new revision; who tracks the secret gets secret-changed."
    examples = ("update-secret database password=other", "update-secret database --name db --info 'the new one'")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        super().arguments(parser)
        parser.add_argument("--name", help="another name")
        parser.add_argument("--auto-prune", action="store_true", help="drop revisions that nobody tracks any more")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Give it a new revision, another description or name."""
        session.call(
            "update_secret",
            model=session.model(args.model),
            secret=args.secret,
            content=self.content(args),
            info=args.info,
            name=args.name,
            auto_prune=args.auto_prune,
        )


class RemoveSecret(Command):
    """`remove-secret`."""

    examples = ("remove-secret database", "remove-secret database --revision 1")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("secret", metavar="ID | NAME")
        parser.add_argument("--revision", type=int, help="only this revision")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Remove it."""
        session.call("remove_secret", model=session.model(args.model), secret=args.secret, revision=args.revision)


class GrantSecret(Command):
    """`grant-secret`."""

    examples: tuple[str, ...] = ("grant-secret database store", "grant-secret database store,front")

    method = "grant_secret"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("secret", metavar="ID | NAME")
        parser.add_argument("applications", metavar="APPLICATION[,...]")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Grant it to each application."""
        model = session.model(args.model)
        for app in args.applications.split(","):
            session.call(self.method, model=model, secret=args.secret, app=app)


class RevokeSecret(GrantSecret):
    """`revoke-secret`."""

    examples = ("revoke-secret database store",)

    method = "revoke_secret"


class ShowSecret(Command):
    """`show-secret`."""

    notes = "Without --reveal the content isn't shown. --revisions goes with neither --reveal nor --revision."
    examples = (
        "show-secret database",
        "show-secret database --reveal --revision 1",
        "show-secret database --revisions",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("secret", metavar="ID | NAME")
        parser.add_argument("--reveal", action="store_true", help="with its content")
        parser.add_argument("-r", "--revision", type=int, help="this revision (default: the latest)")
        parser.add_argument("--revisions", action="store_true", help="list its revisions")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show it."""
        if args.revisions and (args.reveal or args.revision is not None):
            raise UsageError("--revisions goes with neither --reveal nor --revision")
        shown: dict[str, Any] = session.call(
            "show_secret",
            model=session.model(args.model),
            secret=args.secret,
            reveal=args.reveal,
            revision=args.revision,
            revisions=args.revisions,
        )
        if args.format == "json":
            # Juju's JSON has the content one level deeper than its YAML.
            shown = {
                uri: {**body, "content": {"Data": body["content"]}} if "content" in body else body
                for uri, body in shown.items()
            }
        result(shown, args.format)


class Secrets(Command):
    """`secrets`."""

    examples = ("secrets", "secrets --owner store", "secrets --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument(
            "--owner", help="only this owner's: NAME, NAME/0, application-NAME, unit-NAME-0 or model-UUID"
        )
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List them."""
        found: dict[str, Any] = session.call("secrets", model=session.model(args.model))
        if args.owner:
            owners = (args.owner, _of_tag(args.owner))
            found = {uri: body for uri, body in found.items() if body.get("owner") in owners}
        if args.format != "tabular":
            result(found, args.format)
            return
        rows = [
            (
                uri,
                body.get("name") or body.get("label") or "-",
                body.get("owner", ""),
                body.get("rotation", "never"),
                body.get("revision", ""),
                body.get("updated", ""),
            )
            for uri, body in sorted(found.items())
        ]
        for line in table(("ID", "Name", "Owner", "Rotation", "Revision", "Last updated"), rows, right=(4,)):
            out(line)


def _of_tag(text: str) -> str:
    """Return the owner, as secrets name it, that a tag of Juju's stands for, such as `unit-store-0`."""
    kind, _, name = text.partition("-")
    if kind == "unit":
        application, _, number = name.rpartition("-")
        return f"{application}/{number}"
    return {"application": name, "model": "<model>"}.get(kind, text)


def _content(text: str) -> tuple[str, str]:
    """Read one argument of a secret's content."""
    key, value = pair(text)
    name, _, kind = key.partition("#")
    if kind == "file":
        try:
            return name, Path(value).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: can't read {value}: {error}") from error
    if kind == "base64":
        try:
            return name, base64.b64decode(value, validate=True).decode()
        except ValueError as error:
            raise UsageError(f"{name}: isn't base64 of text: {error}") from error
    if kind:
        raise UsageError(f"{key}: expected KEY=VALUE, KEY#file=PATH or KEY#base64=TEXT")
    return name, value
