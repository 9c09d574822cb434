"""The Java runtime that the JVM workloads share."""

from pathlib import Path

from iot_charm.packages import ensure_packages

PACKAGE = "openjdk-17-jre-headless"
"""In Debian 12 and in Ubuntu 24.04; what Hadoop 3.5, Flume 1.11 and Spark 4 all run on."""

JVM_DIRECTORY = Path("/usr/lib/jvm")


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
