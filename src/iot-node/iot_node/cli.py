"""The command ``iot-node``."""

import argparse
import json
import logging
import math
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from iot_node.agent import Agent, read_status
from iot_node.config import Config, Credentials, is_name
from iot_node.errors import NodeError
from iot_node.generator import Run, generate
from iot_telemetry.names import NODE_NAME_WORDS

logger = logging.getLogger(__name__)

_LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"  # the journal adds the time


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after a message on standard error."""
    options = _parser().parse_args(arguments)
    try:
        config = Config.read(options.config)
        logging.basicConfig(level=config.log_level.upper(), format=_LOG_FORMAT)
        match options.command:
            case "run":
                return _run(config)
            case "generate":
                return _generate(config, options)
            case _:
                print(json.dumps(asdict(read_status(config.state_directory)), indent=2))
                return 0
    except NodeError as error:
        print(f"iot-node: {error}", file=sys.stderr)
        return 1


def _run(config: Config) -> int:
    stop = threading.Event()

    def end(_: int, __: object) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    Agent(config).run(stop)
    return 0


def _generate(config: Config, options: argparse.Namespace) -> int:
    run = Run(
        node=config.node,
        name=options.subnode or datetime.now(UTC).strftime("run-%Y%m%dT%H%M%S"),
        count=options.count,
        rate=options.rate,
        seed=options.seed,
        timeout=options.timeout,
    )
    credentials = Credentials.read(config.gateway.credentials_file)
    summary = generate(run, config.gateway, credentials, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(asdict(summary)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iot-node", description="A node that sends telemetry to a gateway over MQTT.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument(
            "--config", type=Path, default=Path("/etc/iot-node/config.toml"), help="the node's TOML file"
        )
        return added

    command("run", "Read the sensors at an interval and send what they show, until stopped.")
    command("status", "Show what the agent last told about itself, as JSON.")
    generator = command(
        "generate",
        "Send test data and wait until all of it is acknowledged. Progress goes to standard error, a summary in JSON "
        "to standard output.",
    )
    generator.add_argument("--count", type=_count, required=True, help="readings to send, at least 1")
    generator.add_argument("--rate", type=_number(0), default=0.0, help="readings a second; 0: as fast as acknowledged")
    generator.add_argument("--seed", type=int, default=1, help="the same seed gives the same values")
    generator.add_argument(
        "--subnode",
        type=_name,
        help="name of the run: readings belong to <node>:<name>, counted from 0; by default from the time",
    )
    generator.add_argument(
        "--timeout", type=_number(1), default=60.0, help="seconds without an acknowledgement after which to give up"
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


def _number(low: float):
    def number(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and value >= low):
            raise argparse.ArgumentTypeError(f"{text}: must be a number of at least {low:g}")
        return value

    return number


def _name(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r}: must be {NODE_NAME_WORDS}")
    return text
