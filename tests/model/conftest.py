"""A model of its own for the tests: the whole bundle on real machines, beside any that the operator runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jubilant
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import chain  # noqa: E402

STATE = Path("/var/lib/tabletop-test")
ENVIRONMENT = {"TABLETOP_STATE": str(STATE), "TABLETOP_RUN": "/run/tabletop-test"}
IMAGE_PACKAGES = ("openjdk-17-jre-headless",)
BUNDLE = ROOT / "bundles/iot-analytics/bundle.yaml"


def command(*words: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], text=True, check=True, **options)


@pytest.fixture(scope="session")
def tabletop() -> str:
    """The command of a tabletop with its own state; whatever an earlier run left is removed first, and all after."""
    os.environ.update(ENVIRONMENT)
    tool = shutil.which("tabletop", path=str(Path(sys.executable).parent))
    assert tool
    command(tool, "destroy", "--no-prompt")
    includes = [word for package in IMAGE_PACKAGES for word in ("--include", package)]
    command(tool, "bootstrap", *includes)
    yield tool
    command(tool, "destroy", "--no-prompt")


@pytest.fixture(scope="session")
def built(tabletop: str) -> Path:
    """The bundle, with its resources and charms built."""
    command(sys.executable, ROOT / "resources/build.py")
    for name in chain.APPLICATIONS:
        command(tabletop, "pack", ROOT / "charms" / name, "-o", ROOT / f"build/charms/{name}.charm")
    return BUNDLE


@pytest.fixture(scope="session")
def juju(tabletop: str, built: Path) -> jubilant.Juju:
    """The deployed bundle, every unit active."""
    client = jubilant.Juju(cli_binary=tabletop, wait_timeout=1200)
    client.add_model("iot-test")
    client.deploy(built)
    try:
        chain.wait_until_active(client)
    except TimeoutError:
        print(client.cli("status"))
        print(client.debug_log(limit=300))
        raise
    return client


@pytest.fixture
def run(juju: jubilant.Juju) -> chain.RunAction:
    return chain.run_with(juju)
