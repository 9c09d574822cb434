"""The builder from its command line, on small recipes; Maven is a script that does what Maven does."""

import errno
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import build
import pytest
from builder import archive, errors, python, recipe, store

MAVEN = """\
#!/bin/sh
echo run >> "{log}"
for argument; do case $argument in -DoutputDirectory=*) out=${{argument#*=}};; esac; done
echo "[INFO] Downloaded from central: repository/a/b-1.jar (1 kB at 2 kB/s)"
mkdir -p "$out" && printf 'a jar' > "$out/b-1.jar"
"""


def write_recipe(recipes: Path, name: str = "thing", toml: str = "") -> Path:
    folder = recipes / name
    (folder / "overlay" / "bin").mkdir(parents=True)
    (folder / "resource.toml").write_text(f'version = "1"\nroot = "{name}-1"\narchive = "{name}.tgz"\n{toml}')
    (folder / "pom.xml").write_text("<project/>")
    (folder / "overlay" / "bin" / "run").write_text("#!/bin/sh\n")
    (folder / "overlay" / "bin" / "run").chmod(0o700)
    (folder / "overlay" / "bin" / "again").symlink_to("run")
    return folder


def write_maven(tools: Path, script: str = MAVEN) -> Path:
    log = tools / "mvn.log"
    (tools / "mvn").write_text(script.format(log=log) if script is MAVEN else script)
    (tools / "mvn").chmod(0o755)
    return log


@pytest.fixture
def run(tmp_path, recipes, capsys):
    def _run(*arguments: str) -> tuple[int, str, str]:
        common = ["--recipes", str(recipes), "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out")]
        code = build.main([*common, *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _run


def test_builds_a_tarball_of_jars_and_overlay(run, recipes, tools, tmp_path):
    write_recipe(recipes)
    write_maven(tools)
    code, out, _ = run("thing")
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "out" / "thing.tgz")
    with tarfile.open(tmp_path / "out" / "thing.tgz") as tar:
        entries = {entry.name: entry for entry in tar}
        assert list(entries) == [
            "thing-1",
            "thing-1/bin",
            "thing-1/bin/again",
            "thing-1/bin/run",
            "thing-1/lib",
            "thing-1/lib/b-1.jar",
        ]
        assert entries["thing-1/bin/run"].mode == 0o755
        assert entries["thing-1/lib/b-1.jar"].mode == 0o644
        assert entries["thing-1/bin/again"].linkname == "run"
        assert {(entry.mtime, entry.uid, entry.uname) for entry in entries.values()} == {(archive.MTIME, 0, "root")}


def test_a_second_run_fetches_nothing_and_a_changed_input_does(run, recipes, tools, tmp_path):
    folder = write_recipe(recipes)
    log = write_maven(tools)
    run()
    first = (tmp_path / "out" / "thing.tgz").stat()
    started = time.monotonic()
    code, out, _ = run()
    assert time.monotonic() - started < 2
    assert (code, log.read_text()) == (0, "run\n")
    assert "is in the cache" in out
    assert (tmp_path / "out" / "thing.tgz").stat() == first
    (folder / "overlay" / "bin" / "run").write_text("#!/bin/sh\ntrue\n")
    run()
    assert log.read_text() == "run\nrun\n"
    assert (tmp_path / "out" / "thing.tgz").stat().st_ino != first.st_ino


def test_the_same_recipe_makes_the_same_bytes(run, recipes, tools, tmp_path):
    folder = write_recipe(recipes)
    write_maven(tools)
    run()
    first = store.digest(tmp_path / "out" / "thing.tgz")
    shutil.rmtree(tmp_path / "cache")
    os.utime(folder / "overlay" / "bin" / "run", (1, 1))
    run()
    assert store.digest(tmp_path / "out" / "thing.tgz") == first


def test_a_lost_link_is_made_again_without_a_build(run, recipes, tools, tmp_path):
    write_recipe(recipes)
    log = write_maven(tools)
    run()
    (tmp_path / "out" / "thing.tgz").unlink()
    run()
    assert (tmp_path / "out" / "thing.tgz").is_file()
    assert log.read_text() == "run\n"


def test_only_two_tarballs_of_a_resource_are_kept(run, recipes, tools, tmp_path):
    folder = write_recipe(recipes)
    write_maven(tools)
    for content in ("1", "2", "3"):
        (folder / "overlay" / "bin" / "run").write_text(content)
        run()
    assert len(_cached(tmp_path)) == 2


def _cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "resources" / "thing").glob("*/thing.tgz"))


def test_excluded_paths_stay_out(run, recipes, tools, tmp_path):
    write_recipe(recipes, toml='exclude = ["lib", "bin/r*"]\n')
    write_maven(tools)
    run()
    with tarfile.open(tmp_path / "out" / "thing.tgz") as tar:
        assert tar.getnames() == ["thing-1", "thing-1/bin", "thing-1/bin/again"]


def test_a_pattern_stays_within_one_folder(tmp_path):
    (tmp_path / "tree" / "bin" / "bin").mkdir(parents=True)
    (tmp_path / "tree" / "bin" / "bin" / "x.cmd").touch()
    (tmp_path / "tree" / "bin" / "y.cmd").touch()
    archive.write(tmp_path / "tree", "top", tmp_path / "a.tgz", exclude=["bin/*.cmd"])
    with tarfile.open(tmp_path / "a.tgz") as tar:
        assert tar.getnames() == ["top", "top/bin", "top/bin/bin", "top/bin/bin/x.cmd"]


def test_list_says_what_is_built(run, recipes, tools):
    write_recipe(recipes)
    write_maven(tools)
    assert run("--list")[1].split() == ["thing", "1", "thing.tgz", "not", "built"]
    run()
    assert run("--list")[1].split() == ["thing", "1", "thing.tgz", "built"]


def test_an_unknown_name_lists_the_known(run, recipes):
    write_recipe(recipes)
    code, _, error = run("nothing")
    assert code == 1
    assert "no resource named 'nothing'; there are: thing" in error


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("surprise = 1\n", "unknown key 'surprise'"),
        ('exclude = "x"\n', "exclude must be a list"),
        ("exclude = [1]\n", "exclude must be a list"),
        ("[maven]\n'pom.xml' = '../x'\n", "leads out of the tarball"),
        ("[maven]\n'other.xml' = 'lib'\n", "names 'other.xml', which is not there"),
        ("[maven]\n'pom.xml' = 1\n", "must map paths to paths"),
        ("= 1\n", "Invalid"),
    ],
)
def test_a_malformed_recipe_is_refused(run, recipes, toml, message):
    write_recipe(recipes, toml=toml)
    code, _, error = run()
    assert code == 1
    assert message in error
    assert "resource.toml" in error


def test_a_recipe_needs_its_names(run, recipes):
    (write_recipe(recipes) / "resource.toml").write_text('version = "1"\nroot = "a/b"\narchive = "x"\n')
    assert "root must be a name without a slash, not 'a/b'" in run()[2]


def test_a_recipe_needs_inputs(run, recipes):
    folder = write_recipe(recipes)
    shutil.rmtree(folder / "overlay")
    (folder / "pom.xml").unlink()
    assert "nothing to build" in run()[2]


def test_maven_missing(run, recipes, tools, monkeypatch):
    write_recipe(recipes)
    monkeypatch.setenv("PATH", str(tools))
    code, _, error = run()
    assert code == 1
    assert "Maven (mvn) is not installed: apt-get install maven" in error


UNREACHABLE = (
    "[ERROR] Failed to execute goal on project x: Could not resolve dependencies for project x:x:pom:1: Failed to "
    "read artifact descriptor for org.example:a:jar:1: Could not transfer artifact org.example:a:pom:1 from/to "
    "central (http://mirror.example/maven2): transfer failed for http://mirror.example/maven2/a-1.pom: Connect to "
    "mirror.example:80 [mirror.example/192.0.2.1] failed: Connection refused -> [Help 1]"
)
ABSENT = (
    "[ERROR] Failed to execute goal on project x: Could not resolve dependencies for project x:x:pom:1: Could not "
    "find artifact org.example:a:jar:9 in central (http://mirror.example/maven2) -> [Help 1]"
)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (UNREACHABLE, "thing: can't fetch org.example:a:pom:1: Connection refused; is the network up"),
        (ABSENT, "thing: Maven's repository has no org.example:a:jar:9: is the version right?"),
        ("[ERROR] The sky fell.", "thing: Maven failed: The sky fell."),
        ("", "thing: Maven failed: it wrote nothing"),
        ("java.io.IOException: No space left on device", "no space left on the disk that holds"),
    ],
)
def test_a_failure_of_maven_is_put_in_words(run, recipes, tools, tmp_path, output, message):
    write_recipe(recipes)
    (tools / "output").write_text(output)
    write_maven(tools, f"#!/bin/sh\ncat {tools}/output\nexit 1\n")
    code, _, error = run()
    assert code == 1
    assert message in error
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache" / "resources" / "thing").glob(".building-*"))


def test_checksums_are_written_and_hold_later_builds_to_them(run, recipes, tools):
    folder = write_recipe(recipes)
    write_maven(tools)
    run("--write-checksums")
    assert (folder / "checksums.txt").read_text().endswith("  lib/b-1.jar\n")
    (folder / "pom.xml").write_text("<project><!-- changed --></project>")
    assert run()[0] == 0
    write_maven(tools, MAVEN.format(log="/dev/null").replace("a jar", "another jar"))
    (folder / "pom.xml").write_text("<project><!-- changed again --></project>")
    code, _, error = run()
    assert code == 1
    assert "thing: lib/b-1.jar differs" in error
    assert "--write-checksums thing" in error


@pytest.mark.parametrize(
    ("listed", "message"),
    [("", "lib/b-1.jar is not listed"), ("00  lib/a.jar\n", "lib/a.jar is missing")],
)
def test_checksums_are_complete(run, recipes, tools, listed, message):
    (write_recipe(recipes) / "checksums.txt").write_text(listed)
    write_maven(tools)
    assert message in run()[2]


def test_a_full_disk_names_the_way_out(tmp_path):
    error = errors.from_os_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "not" / "there")
    assert isinstance(error, errors.NoSpaceError)
    assert "set IOT_CACHE" in str(error)
    assert str(errors.from_os_error(OSError("odd"), tmp_path)) == "odd"


def test_a_full_disk_while_packing(run, recipes, tools, monkeypatch):
    write_recipe(recipes)
    write_maven(tools)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive, "write", full)
    code, _, error = run()
    assert code == 1
    assert "no space left on the disk" in error


def test_an_output_that_cannot_be_written(run, recipes, tools, tmp_path):
    write_recipe(recipes)
    write_maven(tools)
    (tmp_path / "out").write_text("a file where the folder should be")
    code, _, error = run()
    assert code == 1
    assert "out" in error


def test_two_builds_at_once_make_one(recipes, tools, tmp_path):
    write_recipe(recipes)
    log = write_maven(tools, MAVEN.format(log=tools / "mvn.log") + "sleep 1\n")
    command = [
        sys.executable,
        build.__file__,
        "--recipes",
        recipes,
        "--cache",
        tmp_path / "c",
        "--output",
        tmp_path / "o",
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert log.read_text() == "run\n"
    assert any("waiting for another build" in output for output in outputs)


def test_progress_of_a_slow_maven(run, recipes, tools, monkeypatch):
    from builder import process

    write_recipe(recipes)
    write_maven(tools, MAVEN.format(log="/dev/null") + "sleep 2\n")
    monkeypatch.setattr(process, "HEARTBEAT_S", 0.5)
    assert "thing: pom.xml: 1 files downloaded, last b-1.jar, 1 s" in run()[1]


def test_python_packages_are_laid_out_as_told(recipes, tmp_path):
    """A real package, made here, installed by the real installer."""
    source = tmp_path / "source" / "small"
    source.mkdir(parents=True)
    folder = write_recipe(recipes, toml='[python]\n"small/jars" = "jars"\n"" = "python"\n')
    (folder / "pom.xml").unlink()
    wheel = _wheel(tmp_path, {"small/__init__.py": "X = 1\n", "small/jars/a.jar": "jar"})
    pin = f"small @ {wheel.as_uri()} --hash=sha256:{store.digest(wheel)}\n"
    (folder / "requirements.txt").write_text(pin)
    path = store.Store(tmp_path / "cache").ensure(recipe.load(recipes, "thing"))
    with tarfile.open(path) as tar:
        assert {"thing-1/jars/a.jar", "thing-1/python/small/__init__.py"} < set(tar.getnames())
        assert "thing-1/python/small/jars" not in tar.getnames()
    (folder / "requirements.txt").write_text(pin.replace(store.digest(wheel), "0" * 64))
    with pytest.raises(errors.FetchError, match="can't install"):
        store.Store(tmp_path / "cache").ensure(recipe.load(recipes, "thing"))


def _wheel(tmp_path: Path, files: dict[str, str]) -> Path:
    import zipfile

    path = tmp_path / "small-1-py3-none-any.whl"
    record = "".join(f"{name},,\n" for name in files)
    meta = {
        "small-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1\n",
        "small-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "small-1.dist-info/RECORD": record,
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in (files | meta).items():
            wheel.writestr(name, content)
    return path


def test_move_merges_folders(tmp_path):
    (tmp_path / "a" / "x").mkdir(parents=True)
    (tmp_path / "a" / "x" / "1").write_text("1")
    (tmp_path / "b" / "x").mkdir(parents=True)
    (tmp_path / "b" / "x" / "2").write_text("2")
    python.move(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b" / "x").iterdir()) == ["1", "2"]


def test_help_says_where_things_go():
    text = subprocess.run([sys.executable, build.__file__, "--help"], capture_output=True, text=True, check=True).stdout
    assert "/var/cache/iot-analytics" in text
    assert "--write-checksums" in text


def test_every_recipe_of_the_project_is_sound():
    folder = Path(build.__file__).parent
    recipes = [recipe.load(folder, name) for name in recipe.names(folder)]
    assert len({one.archive for one in recipes}) == len(recipes) > 0
