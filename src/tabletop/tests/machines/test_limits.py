import json
from pathlib import Path

import pytest

from tabletop.limits import raise_limits, restore_limits


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    kernel = tmp_path / "sys"
    for name, value in (
        ("fs/inotify/max_user_instances", "128"),
        ("fs/inotify/max_user_watches", "9999999"),
        ("net/ipv4/ip_forward", "0"),
    ):
        (kernel / name).parent.mkdir(parents=True, exist_ok=True)
        (kernel / name).write_text(value)
    return kernel


def settings(kernel: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in kernel.rglob("*") if file.is_file()}


def test_low_ones_are_raised_said_and_put_back(kernel: Path, tmp_path: Path) -> None:
    before, record, said = settings(kernel), tmp_path / "record.json", list[str]()
    raise_limits(said.append, kernel=kernel, record=record)
    assert settings(kernel) == {"max_user_instances": "4096", "max_user_watches": "9999999", "ip_forward": "1"}
    assert "fs.inotify.max_user_instances raised from 128 to 4096" in said[0]
    assert len(said) == 2
    raise_limits(said.append, kernel=kernel, record=record)
    assert len(said) == 2
    assert restore_limits(kernel=kernel, record=record) == [
        "kernel setting fs.inotify.max_user_instances back to 128",
        "kernel setting net.ipv4.ip_forward back to 0",
    ]
    assert settings(kernel) == before
    assert restore_limits(kernel=kernel, record=record) == []


def test_a_record_from_before_the_last_boot_means_nothing(kernel: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"boot": "another", "before": {"net/ipv4/ip_forward": 7}}))
    before = settings(kernel)
    assert restore_limits(kernel=kernel, record=record) == []
    assert settings(kernel) == before
    record.write_text("cut sho")
    assert restore_limits(kernel=kernel, record=record) == []


def test_the_first_value_is_the_one_to_go_back_to(kernel: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    raise_limits(kernel=kernel, record=record)
    (kernel / "net/ipv4/ip_forward").write_text("0")
    (kernel / "fs/inotify/max_user_instances").write_text("1000")
    raise_limits(kernel=kernel, record=record)
    restore_limits(kernel=kernel, record=record)
    assert settings(kernel)["max_user_instances"] == "128"
