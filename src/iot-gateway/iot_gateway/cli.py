"""Command line: ``iot-gateway run | check-config | status | plan-buffer``, and the commands to nodes."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from iot_gateway import config as configuration
from iot_gateway import control, status
from iot_gateway.config import RelayConfig
from iot_gateway.desk import State, read_value
from iot_gateway.errors import GatewayError
from iot_gateway.relay import Relay

DEFAULT_CONFIG = Path("/etc/iot-gateway/config.toml")

logger = logging.getLogger("iot_gateway")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 1 with one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except GatewayError as error:
        print(f"iot-gateway: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iot-gateway", description="Relays readings from nodes to the chain.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
        command.set_defaults(command=function)
        return command

    for name, function, text in (
        ("run", run, "relay until SIGTERM; SIGHUP reloads the configuration"),
        ("check-config", check_config, "tell whether the configuration can be used"),
        ("status", show_status, "print the status of the running relay as JSON"),
        ("plan-buffer", plan_buffer, "tell how long the uplink can be down, as JSON; the answer is in words, too"),
    ):
        add(name, function, text)
    _add_commands(add)
    return parser


def _add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    send = add("send-command", send_command, "give a node a command; the running relay sees to it")
    send.add_argument("node")
    send.add_argument("target", help="the actuator's name at the node, such as light, or the path of an LwM2M resource")
    send.add_argument(
        "value", nargs="?", help='60: a number; on, off, true, false; "60", with quotes in it, and all else: a text'
    )
    send.add_argument("--ttl", type=float, help="seconds that it is worth delivering; default: an hour")
    send.add_argument("--id", help="the command's identifier, under which it is given once; default: a new one")
    found = add("list-commands", list_commands, "list commands, the newest first, with all that became of them")
    found.add_argument("--node", default="", help="only those to this node")
    found.add_argument("--state", default="", choices=[str(state) for state in State], help="only those in this state")
    found.add_argument("--limit", type=int, default=100, help="at most so many; default: %(default)s")
    cancel = add("cancel-command", cancel_command, "take a command back; what the node has already is not undone")
    cancel.add_argument("id")
    cancel.add_argument("--reason", default="")


def run(options: argparse.Namespace) -> int:
    """Relay until SIGTERM or SIGINT."""
    config = configuration.load(options.config)
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # Pika tells of every attempt to connect in five lines; the uplink tells it in one.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    asyncio.run(_relay(config, options.config))
    return 0


async def _relay(config: RelayConfig, path: Path) -> None:
    relay = Relay(config)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(relay.reload(path))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    logger.info("relaying as %s at %s", config.gateway, config.site)
    await relay.run()


def check_config(options: argparse.Namespace) -> int:
    """Check the configuration."""
    configuration.load(options.config)
    print(f"{options.config} can be used")
    return 0


def show_status(options: argparse.Namespace) -> int:
    """Print the running relay's status."""
    config = configuration.load(options.config)
    _show(status.ask(config.status_socket))
    return 0


def _show(answer: Any) -> None:
    print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def send_command(options: argparse.Namespace) -> int:
    """Give a node a command, and print it."""
    given = {"ttl": options.ttl, "id": options.id}
    request = {key: value for key, value in given.items() if value is not None}
    value = None if options.value is None else read_value(options.value)
    return _ask(options, "send-command", node=options.node, target=options.target, value=value, origin="cli", **request)


def list_commands(options: argparse.Namespace) -> int:
    """Print commands."""
    return _ask(options, "list-commands", node=options.node, state=options.state, limit=options.limit)


def cancel_command(options: argparse.Namespace) -> int:
    """Take a command back, and print it."""
    return _ask(options, "cancel-command", id=options.id, reason=options.reason)


def _ask(options: argparse.Namespace, what: str, **fields: Any) -> int:
    config = configuration.load(options.config)
    _show(control.ask(config.control_socket, {"do": what, **fields}))
    return 0


def plan_buffer(options: argparse.Namespace) -> int:
    """Print how long the uplink can be down."""
    return _ask(options, "plan-buffer")
