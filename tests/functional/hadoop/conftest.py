"""A Hadoop cluster of this machine's own processes, made by the charms' workload modules.

Needs: Java 17, build/resources/hadoop.tar.gz (``resources/build.py hadoop``), about 1.5 GB of memory.
Everything is under a temporary directory and on ports of its own. systemd alone is replaced: the units that the
modules write are run as child processes, by what the units say.
"""

import importlib.util
import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from iot_charm import distribution, hadoop, hadoop_node, java, services

REPOSITORY = Path(__file__).parents[3]
ME = pwd.getpwuid(os.geteuid()).pw_name
ADDRESS = "127.0.0.1"


class Processes:
    """Runs what units say, as systemd would."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.units: dict[str, str] = {}
        self.started_from: dict[str, list[str]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def ensure_unit(self, name: str, text: str) -> bool:
        changed = self.units.get(name) != text
        self.units[name] = text
        return changed

    def ensure_running(self, name: str, origins: Iterable[services.Origin], *, restart: bool) -> bool:
        text = self.units[name]
        wanted = [text, *map(str, origins)]
        if self.is_running(name):
            if not restart and self.started_from[name] == wanted:
                return False
            self.stop(name)
        self.started_from[name] = wanted
        (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        environment = dict(
            shlex.split(value)[0].split("=", 1) for value in re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
        )
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                shlex.split(command),
                env={"PATH": os.environ["PATH"], **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return True

    def is_running(self, name: str) -> bool:
        return name in self.running and self.running[name].poll() is None

    def stop(self, name: str) -> None:
        process = self.running.pop(name, None)
        if process is not None:
            process.terminate()
            process.wait(60)

    disable = stop

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")


def load(charm: str, module: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module, REPOSITORY / "charms" / charm / "src" / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return loaded


class Machine:
    """A workload module on a machine of its own: with its own configuration folder."""

    def __init__(self, module: ModuleType, conf: Path) -> None:
        self.module, self.conf = module, conf

    def __getattr__(self, name: str):
        attribute = getattr(self.module, name)
        if not isinstance(attribute, FunctionType):
            return attribute

        def call(*arguments, **named):
            hadoop_node.CONF = self.conf
            return attribute(*arguments, **named)

        return call


class Cluster:
    """The three workload modules, pointed at a directory and at ports of the test's own."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.processes = Processes(directory)
        for name in ("ensure_unit", "ensure_running", "is_running", "stop", "disable"):
            patch.setattr(services, name, getattr(self.processes, name))
        patch.setattr(hadoop_node, "CONF", directory / "conf")
        patch.setattr(hadoop_node, "DATA", directory / "data")
        (directory / "data" / ME).mkdir(parents=True)
        namenode, worker, resourcemanager = (
            load(f"hadoop-{name}", name) for name in ("namenode", "worker", "resourcemanager")
        )
        self.namenode = Machine(namenode, directory / "conf-namenode")
        self.worker = Machine(worker, directory / "conf-worker")
        self.resourcemanager = Machine(resourcemanager, directory / "conf-resourcemanager")
        for module, names in (
            (namenode, ["USER"]),
            (worker, ["HDFS_USER", "YARN_USER"]),
            (resourcemanager, ["YARN_USER", "MAPRED_USER"]),
        ):
            for name in names:
                patch.setattr(module, name, ME)
            for name, value in list(vars(module).items()):
                if name.endswith("PORT") and isinstance(value, int):
                    patch.setattr(module, name, value + 20000)
        patch.setattr(namenode, "NAME_DIRECTORY", directory / "data" / ME / "name")
        patch.setattr(resourcemanager, "STATE_DIRECTORY", directory / "data" / ME / "rm-state")
        self.addresses = resourcemanager.Addresses(
            ADDRESS, **{name: getattr(resourcemanager, name.upper()) for name in PORT_NAMES}
        )
        patch.setattr(resourcemanager, "Addresses", lambda _: self.addresses)


PORT_NAMES = ["port", "scheduler_port", "tracker_port", "web_port", "history_port", "history_web_port"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    archive = REPOSITORY / "build" / "resources" / "hadoop.tar.gz"
    assert archive.exists(), f"{archive} is missing: resources/build.py hadoop"
    directory = tmp_path_factory.mktemp("hadoop")
    with pytest.MonkeyPatch.context() as patch:
        prefix = directory / "opt"
        prefix.mkdir()
        distribution.ensure_installed(archive, "hadoop", prefix=prefix)
        patch.setattr(hadoop, "HOME", prefix / "hadoop")
        patch.setattr(java, "ensure_packages", lambda *_: False)
        made = Cluster(directory, patch)
        yield made
        # Masters last: those that report to one take their leave of it.
        for name in reversed(list(made.processes.running)):
            made.processes.stop(name)
