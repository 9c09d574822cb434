import dataclasses

import pytest

import tabletop.recipe
from tabletop.errors import TabletopError
from tabletop.recipe import Recipe, certificates_in, distribution_of_host

RECIPE = Recipe("debian", "bookworm", "amd64", ("systemd",), "Types: deb\n")


def test_the_host_s_recipe() -> None:
    recipe = Recipe.of_host(["zip", "bc", "systemd"])
    assert recipe.packages[-2:] == ("bc", "zip")
    assert recipe.packages.count("systemd") == 1
    assert f"{recipe.suite}-security" in recipe.sources
    assert recipe.key == Recipe.of_host(["bc", "zip"]).key
    assert recipe.key != Recipe.of_host(["bc"]).key
    assert recipe.kind == f"{recipe.suite}-{recipe.architecture}"
    assert certificates_in(recipe.certificates)


def test_the_recipe_of_another_architecture() -> None:
    own = Recipe.of_host()
    other = Recipe.of_host(architecture="amd64" if own.architecture == "arm64" else "arm64")
    assert other.kind != own.kind
    assert other.key != own.key
    assert f"Suites: {own.suite}" in other.sources


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "noble"},
        {"architecture": "arm64"},
        {"sources": "Types: deb\nURIs: http://mirror\n"},
        {"apt": 'Acquire::http::Proxy "http://proxy:3128";\n'},
        {"certificates": "another"},
        {"pip": "[global]\n"},
        {"files": {"/etc/apt/auth.conf": b"machine"}},
    ],
)
def test_whatever_differs_makes_another_image(change) -> None:
    assert dataclasses.replace(RECIPE, **change).key != RECIPE.key


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian 12"\n', ("debian", "bookworm")),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", ("ubuntu", "noble")),
    ],
)
def test_the_distribution(os_release: str, expected: tuple[str, str]) -> None:
    assert distribution_of_host(os_release) == expected


def test_another_distribution_is_named() -> None:
    with pytest.raises(TabletopError, match=r"Debian 12 and Ubuntu 24\.04; this is Fedora 43"):
        distribution_of_host('ID=fedora\nPRETTY_NAME="Fedora 43"\n')
    with pytest.raises(TabletopError, match="this is this host's system"):
        distribution_of_host("")


def test_certificates_are_told_apart() -> None:
    def block(text: str) -> str:
        return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"

    assert certificates_in("# one\n" + block("AA") + "\n# two\n" + block("BB")) == [block("AA"), block("BB")]


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tabletop.recipe._apt_settings
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in settings({"http_proxy": "http://proxy.example:3128"})
    assert "127.0.0.1" not in settings({"https_proxy": "http://127.0.0.1:3128"})
