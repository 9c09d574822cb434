import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from leftovers import short_directory
from world import World, making_world


@pytest.fixture
def short_path() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def world() -> Iterator[World]:
    with making_world() as made:
        yield made
