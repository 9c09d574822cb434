"""Command line: ``iot-gateway run | check-config | status``."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from iot_gateway import config as configuration
from iot_gateway import memory, status
from iot_gateway.config import RelayConfig
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
    for name, function, text in (
        ("run", run, "relay until SIGTERM; SIGHUP reloads the configuration"),
        ("check-config", check_config, "tell whether the configuration can be used"),
        ("status", show_status, "print the status of the running relay as JSON"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
        command.set_defaults(command=function)
    return parser


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
    memory.trim()
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
    print(json.dumps(status.ask(config.status_socket), indent=2))
    return 0
