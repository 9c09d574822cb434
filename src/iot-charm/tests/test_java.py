"""Truststores, as the JVM's own tool reads them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from iot_charm import java
from iot_charm.testing import Authority


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime with this machine's keytool."""
    keytool = shutil.which("keytool")
    assert keytool, "keytool is missing: tools/setup dev"
    home = tmp_path / "java-17-openjdk-here"
    (home / "bin").mkdir(parents=True)
    (home / "bin/java").touch()
    (home / "bin/keytool").symlink_to(keytool)
    monkeypatch.setattr(java, "JVM_DIRECTORY", tmp_path)
    monkeypatch.setattr(java, "ensure_packages", lambda *_: False)


def trusted(path: Path) -> int:
    """Return how many authorities a JVM that is given no password finds."""
    listing = subprocess.run(
        ["keytool", "-list", "-keystore", path], input="\n", capture_output=True, text=True, check=True, timeout=60
    )
    return listing.stdout.count("trustedCertEntry")


def test_all_authorities_are_trusted_a_second_call_changes_nothing_and_all_of_it_can_be_removed(tmp_path: Path):
    path = tmp_path / "truststore.p12"
    assert java.ensure_truststore(path, Authority("one").ca + Authority("two").ca)
    assert trusted(path) == 2
    former = path.read_bytes()
    assert not java.ensure_truststore(path, path.with_suffix(".pem").read_text())
    assert path.read_bytes() == former
    assert java.ensure_truststore(path, Authority("three").ca)
    assert trusted(path) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "java-17-openjdk-here",
        "truststore.p12",
        "truststore.pem",
    ]
    java.remove_truststore(path)
    assert [each.name for each in tmp_path.iterdir()] == ["java-17-openjdk-here"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no certificate", "no certificate of an authority .* 'no certificate'"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "can't be read"),
    ],
)
def test_what_is_no_certificate_leaves_the_former(tmp_path: Path, text: str, message: str):
    path = tmp_path / "truststore.p12"
    java.ensure_truststore(path, Authority("one").ca)
    with pytest.raises(java.TruststoreError, match=message):
        java.ensure_truststore(path, text)
    assert trusted(path) == 1
