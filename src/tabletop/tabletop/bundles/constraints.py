"""Constraints as bundles and command lines write them: `mem=2G cores=2 arch=arm64`."""

import re
from collections.abc import Mapping

_SIZE = re.compile(r"\d+(?:\.\d+)?(?:[MGTPE](?:i?B)?)?")
_NUMBER = re.compile(r"\d+")
_ARCHITECTURES = ("amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x")
_ANYTHING = re.compile(r".*")
_BOOLEAN = re.compile(r"true|false")
_FORMS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "allocate-public-ip": (_BOOLEAN, "true or false"),
    "arch": (re.compile("|".join(_ARCHITECTURES)), f"one of {', '.join(_ARCHITECTURES)}"),
    "container": (re.compile("none|lxd|kvm"), "none, lxd or kvm"),
    "cores": (_NUMBER, "a number"),
    "cpu-power": (_NUMBER, "a number"),
    "mem": (_SIZE, "a size such as 512M or 2G"),
    "root-disk": (_SIZE, "a size such as 512M or 2G"),
    **dict.fromkeys(
        ("image-id", "instance-role", "instance-type", "root-disk-source", "spaces", "tags", "virt-type", "zones"),
        (_ANYTHING, "anything"),
    ),
}


def parse(word: str) -> tuple[str, str]:
    """Read one constraint; an empty value takes it away, as Juju has it.

    Raises:
        ValueError: the key isn't one of Juju's, or the value isn't of its kind.
    """
    key, equals, value = word.partition("=")
    if not equals or key not in _FORMS:
        raise ValueError(f"bad constraint {word!r}: expected KEY=VALUE, KEY one of {', '.join(sorted(_FORMS))}")
    form, wanted = _FORMS[key]
    if value and not form.fullmatch(value):
        raise ValueError(f"bad constraint {word!r}: expected {wanted}")
    return key, value
