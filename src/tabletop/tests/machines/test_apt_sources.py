from pathlib import Path

import pytest

from tabletop.apt_sources import Source, of_distribution, parse_deb822, parse_one_line, ported, read_sources

ONE_LINE = """\
# the distribution
deb http://archive.example/debian bookworm main contrib  # a remark
deb-src http://archive.example/debian bookworm main
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://sec.ex bookworm-security main

deb [ signed-by=/etc/apt/keyrings/docker.asc ] https://other.example/debian bookworm stable
deb [trusted=yes] file:/srv/flat ./
nonsense
"""

DEB822 = """\
# the distribution
Types: deb deb-src
URIs: http://archive.example/ubuntu http://mirror.example/ubuntu
Suites: noble noble-updates noble-backports
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

types: deb
uris: http://security.example/ubuntu
suites: noble-security
components: main
check-valid-until: no
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
\t
Types: deb
URIs: http://off.example
Suites: noble
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example
Suites: noble
Components: main
"""


def test_one_line_form() -> None:
    main, security, docker, flat = parse_one_line(ONE_LINE)
    assert main == Source(("http://archive.example/debian",), ("bookworm",), ("main", "contrib"))
    assert security.architectures == ("amd64", "arm64")
    assert security.keyring == Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    assert docker.keyring == Path("/etc/apt/keyrings/docker.asc")
    assert flat.components == ()
    assert flat.options == {"Trusted": "yes"}


def test_deb822_form() -> None:
    archive, security = parse_deb822(DEB822)
    assert archive.uris == ("http://archive.example/ubuntu", "http://mirror.example/ubuntu")
    assert archive.suites == ("noble", "noble-updates", "noble-backports")
    assert security.keyring is None
    assert "mQINBF" in security.options["Signed-By"]
    assert security.options["Check-Valid-Until"] == "no"


@pytest.mark.parametrize("text", [ONE_LINE, DEB822])
def test_what_is_written_is_read_back(text: str) -> None:
    sources = parse_one_line(text) if text is ONE_LINE else parse_deb822(text)
    for source in sources:
        (back,) = parse_deb822(source.to_deb822())
        assert back == Source(source.uris, source.suites, source.components, (), source.options)


def test_the_distribution_s_own_are_kept() -> None:
    sources = parse_one_line(ONE_LINE)
    assert [source.uris[0] for source in of_distribution(sources, "bookworm", "amd64")] == [
        "http://archive.example/debian",
        "http://sec.ex",
    ]
    assert [source.uris[0] for source in of_distribution(sources, "bookworm", "riscv64")] == [
        "http://archive.example/debian"
    ]
    assert of_distribution(sources, "trixie", "amd64") == []
    (mixed,) = of_distribution(
        [Source(("http://x",), ("stable", "noble", "noble-updates"), ("main",))], "noble", "amd64"
    )
    assert mixed.suites == ("noble", "noble-updates")


def test_a_mirror_with_its_own_key_stands_in() -> None:
    mirror = Source(("http://mirror.corp",), ("noble",), ("main",), (), {"Signed-By": "/usr/share/keyrings/corp.gpg"})
    assert of_distribution([mirror], "noble", "amd64") == [mirror]


@pytest.mark.parametrize(
    ("uri", "architecture", "host", "expected"),
    [
        ("http://archive.ubuntu.com/ubuntu/", "arm64", "amd64", "http://ports.ubuntu.com/ubuntu-ports/"),
        ("http://de.archive.ubuntu.com/ubuntu", "arm64", "amd64", "http://ports.ubuntu.com/ubuntu-ports"),
        ("http://security.ubuntu.com/ubuntu/", "arm64", "amd64", "http://ports.ubuntu.com/ubuntu-ports/"),
        ("https://mirror.example/pub/ubuntu/", "arm64", "amd64", "https://mirror.example/pub/ubuntu-ports/"),
        ("http://ports.ubuntu.com/ubuntu-ports/", "amd64", "arm64", "http://archive.ubuntu.com/ubuntu/"),
        ("https://mirror.example/ubuntu-ports", "amd64", "arm64", "https://mirror.example/ubuntu"),
        ("http://archive.ubuntu.com/ubuntu/", "i386", "amd64", "http://archive.ubuntu.com/ubuntu/"),
        ("http://ports.ubuntu.com/ubuntu-ports/", "riscv64", "arm64", "http://ports.ubuntu.com/ubuntu-ports/"),
    ],
)
def test_ubuntu_s_other_archive(uri: str, architecture: str, host: str, expected: str) -> None:
    source = Source((uri,), ("noble", "noble-updates"), ("main", "universe"))
    (found,) = ported([source], architecture, host)
    assert found == Source((expected,), source.suites, source.components)


def test_sources_that_name_the_architecture_win() -> None:
    every = Source(("http://archive.ubuntu.com/ubuntu",), ("noble",), ("main",))
    named = Source(("http://mirror.example/arm",), ("noble",), ("main",), ("arm64",))
    assert ported([every, named], "arm64", "amd64") == [named]


def test_a_host_s_files_in_apt_s_order(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    assert read_sources(tmp_path) == []
    (tmp_path / "sources.list").write_text("deb http://first stable main\n")
    (parts / "b.list").write_text("deb http://third stable main\n")
    (parts / "a.sources").write_text("Types: deb\nURIs: http://second\nSuites: stable\nComponents: main\n")
    (parts / "c.list.disabled").write_text("deb http://never stable main\n")
    assert [source.uris[0] for source in read_sources(tmp_path)] == ["http://first", "http://second", "http://third"]
