"""What the tests of real daemons share."""

import logging
import sys
from pathlib import Path

import pytest

# The tests' own modules: pytest's importlib mode puts no test folder on the path.
sys.path.insert(0, str(Path(__file__).parent))

# Pika reports on every attempt to connect; the tests have their own way of telling.
logging.getLogger("pika").setLevel(logging.CRITICAL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="more rounds of faults, longer outages, a million hostile payloads: minutes instead of seconds",
    )


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for more and longer rounds."""
    return request.config.getoption("--thorough")
