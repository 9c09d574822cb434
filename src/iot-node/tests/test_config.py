import re
from pathlib import Path

import pytest

from iot_charm.interfaces.mqtt import NODE_NAME
from iot_gateway.nodes import NAME
from iot_node.config import Config, Credentials, is_name
from iot_node.errors import ConfigError


def test_defaults(config: Config):
    assert config.profiles == ("sensortag",)
    assert config.topic == "telemetry/node-1"
    assert config.spool_max_bytes == 10 * 2**20
    assert config.log_level == "info"


def test_two_nodes_have_different_noise_and_one_the_same_after_a_restart(config_file: Path):
    first, again = Config.read(config_file), Config.read(config_file)
    config_file.write_text(config_file.read_text().replace("node-1", "node-2"))
    assert first.seed == again.seed != Config.read(config_file).seed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('node = "a/b"', "node='a/b': must be at most 64 letters"),
        ('node = "a.b"', "a dot is not allowed"),
        ('node = "a\\n"', "node='a\\n': must be"),
        ("node = 5", "node=5: must be of type str"),
        ("interval = 0.0", "interval=0.0: must be a number from 0.1 to 86400"),
        ('interval = "5"', "interval='5': must be a number"),
        ("interval = true", "interval=True: must be a number"),
        ("interval = nan", "interval=nan: must be a number"),
        ('profiles = ["toaster"]', "toaster"),
        ("profiles = []", "must be one or more of"),
        ('profiles = ["host", "host"]', "each once"),
        ('actuators = ["toaster"]', "actuators: 'toaster' is none"),
        ("actuators = [1]", "actuators=[1]: must be names"),
        ("seed = true", "seed=True: must be of type int"),
        ('log_level = "loud"', "log_level='loud'"),
        ("spool_max_bytes = 10", "spool_max_bytes=10"),
        ("colour = 1", "unknown: colour"),
        ("gateway.port = 70000", "gateway.port=70000"),
        ("gateway.colour = 1", "unknown: gateway.colour"),
        ("= 5", "is not TOML"),
    ],
)
def test_a_bad_value_is_named(config_file: Path, line: str, words: str):
    key = line.split("=", 1)[0].strip()
    if key.startswith("gateway."):
        kept = [old for old in config_file.read_text().splitlines() if not old.startswith(key.split(".")[1])]
        text = "\n".join([*kept, line.removeprefix("gateway.")])
    else:
        kept = [old for old in config_file.read_text().splitlines() if not key or not old.startswith(key)]
        text = "\n".join([line, *kept])
    config_file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml") as refused:
        Config.read(config_file)
    assert words in str(refused.value)


def test_a_missing_key_and_a_missing_file(tmp_path: Path):
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="can't read the configuration"):
        Config.read(path)
    path.write_text('node = "a"\n')
    with pytest.raises(ConfigError, match=r"gateway\.host is missing"):
        Config.read(path)


class TestCredentials:
    def test_are_read_and_never_shown(self, tmp_path: Path):
        path = tmp_path / "c.json"
        path.write_text('{"username": "node-1", "password": "hunter2"}')
        path.chmod(0o600)
        found = Credentials.read(path)
        assert found == Credentials("node-1", "hunter2")
        assert "hunter2" not in repr(found)

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_that_others_can_read_are_refused(self, tmp_path: Path, mode: int):
        path = tmp_path / "c.json"
        path.write_text('{"username": "node-1", "password": "hunter2"}')
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            Credentials.read(path)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"username": "a"}', "5"])
    def test_that_are_malformed_are_refused(self, tmp_path: Path, content: str):
        path = tmp_path / "c.json"
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="username and password"):
            Credentials.read(path)

    def test_that_are_missing_are_refused(self, tmp_path: Path):
        with pytest.raises(ConfigError, match="can't read the credentials"):
            Credentials.read(tmp_path / "none")


@pytest.mark.parametrize(
    "name", ["a", "0", "node-1", "a_b", "A" * 64, "a.b", "", "-a", "_a", "a b", "A" * 65, "a\n", "é"]
)
def test_a_node_is_called_what_the_gateway_and_its_charm_let_in(name: str):
    known = is_name(name)
    assert (re.fullmatch(NAME, name) is not None) is known
    assert (re.fullmatch(NODE_NAME, name) is not None) is known
