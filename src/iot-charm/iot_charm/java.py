"""The Java runtime that the JVM workloads share."""

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from iot_charm.errors import IotCharmError
from iot_charm.files import ensure_file, remove
from iot_charm.packages import ensure_packages

PACKAGE = "openjdk-17-jre-headless"
"""In Debian 12 and in Ubuntu 24.04; what Hadoop 3.5, Flume 1.11 and Spark 4 all run on."""

JVM_DIRECTORY = Path("/usr/lib/jvm")

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class TruststoreError(IotCharmError):
    """No truststore can be made of what should be certificates."""


def ensure_java() -> Path:
    """Install the runtime if it is missing.

    Returns:
        Its home directory, fit for JAVA_HOME.

    Raises:
        apt.PackageError: it can't be installed.
        FileNotFoundError: it is installed, but not where the distributions put it.
    """
    ensure_packages(PACKAGE)
    for home in sorted(JVM_DIRECTORY.glob("java-17-openjdk-*")):
        if (home / "bin" / "java").exists():
            return home
    raise FileNotFoundError(f"{PACKAGE} is installed, but {JVM_DIRECTORY}/java-17-openjdk-*/bin/java is not there")


def ensure_truststore(path: Path, authorities: str) -> bool:
    """Make ``path`` a truststore (PKCS #12, without a password) of these authorities, readable for all.

    Args:
        path: of the truststore; what it was made of is kept beside it, with the suffix ``.pem``.
        authorities: their certificates, PEM.

    Returns:
        Whether anything changed.

    Raises:
        TruststoreError: there is no certificate, or one that can't be read.
    """
    source = _source(path)
    if path.exists() and source.exists() and source.read_text() == authorities:
        return False
    certificates = _CERTIFICATE.findall(authorities)
    if not certificates:
        raise TruststoreError(f"no certificate of an authority (PEM) is in {authorities[:40]!r}")
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as directory:
        made = Path(directory, "made")
        for number, certificate in enumerate(certificates):
            _import(ensure_java() / "bin" / "keytool", made, f"authority{number}", certificate)
        ensure_file(path, made.read_bytes())
    ensure_file(source, authorities)
    return True


def remove_truststore(path: Path) -> None:
    """Remove what :func:`ensure_truststore` made, if it did."""
    remove(path)
    remove(_source(path))


def _source(truststore: Path) -> Path:
    return truststore.with_suffix(".pem")


def _import(keytool: Path, truststore: Path, alias: str, certificate: str) -> None:
    command = [str(keytool), "-importcert", "-noprompt", "-alias", alias, "-keystore", str(truststore)]
    # The file is to have no password: keytool wants one all the same.
    command += ["-storetype", "PKCS12", "-storepass", "unused", "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE"]
    command += ["-J-Dkeystore.pkcs12.macAlgorithm=NONE"]
    done = subprocess.run(command, input=certificate, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise TruststoreError(f"the certificate of an authority can't be read: {(done.stdout + done.stderr).strip()}")
