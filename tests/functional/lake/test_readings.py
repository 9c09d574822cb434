"""What the notebook's module makes of files as Flume leaves them, in a real local Spark session."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def spark_home(tmp_path_factory):
    """The Spark distribution, built from its recipe (from the cache, where it was built before)."""
    build = [sys.executable, REPOSITORY / "resources" / "build.py", "spark"]
    archive = subprocess.run(build, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    folder = tmp_path_factory.mktemp("spark")
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    (home,) = folder.iterdir()
    yield home
    shutil.rmtree(home)


def run_python(spark_home: Path, code: str, *arguments: object) -> str:
    environment = {
        "PATH": "/usr/bin:/bin",
        "SPARK_HOME": str(spark_home),
        "PYTHONPATH": f"{spark_home / 'python'}:{REPOSITORY / 'src' / 'iot-lake'}",
        "PYSPARK_PYTHON": "/usr/bin/python3",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "HOME": os.environ["HOME"],
    }
    script = ["/usr/bin/python3", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(count: int, *, start: int = 0, **fields: object) -> bytes:
    base = {"site": "s", "gateway": "g", "node": "n", "sensor": "t", "unit": "Cel", "value": 20.5, "received": 1.25}
    readings = (
        {"time": 1700000000 + number, **base, "seq": number, **fields} for number in range(start, start + count)
    )
    return b"".join(json.dumps(reading).encode() + b"\n" for reading in readings)


def test_gzip_members_duplicates_open_files_and_garbage(spark_home, tmp_path):
    day = tmp_path / "2026-11-24"
    day.mkdir()
    # Two members in one file, the second one delivered twice in part.
    (day / "FlumeData.1.gz").write_bytes(gzip.compress(lines(100)) + gzip.compress(lines(60, start=50)))
    (day / "FlumeData.2").write_bytes(lines(5, start=110) + b"no JSON\n{}\n" + b'{"sensor": 7, "node": "n"}\n')
    # A node that does not count, one line twice; and one whose value is a text.
    uncounted = lines(2, seq=None, sensor="u")
    (day / "FlumeData.3").write_bytes(uncounted + uncounted + lines(1, sensor="x", value=None, text="up"))
    # Commands, one of whose changes of state was told twice.
    told = {"seq": None, "value": None, "unit": None, "sensor": "command/light", "command": "one", "wanted": "60.0"}
    steps = [
        lines(1, start=number, text=state, reason="", **told) for number, state in enumerate(("queued", "applied"))
    ]
    (day / "FlumeData.6").write_bytes(b"".join(steps) + steps[0])
    (day / "FlumeData.4.tmp").write_bytes(lines(10, start=1000))
    (day / "FlumeData.5.gz.tmp").write_bytes(gzip.compress(lines(10, start=2000))[:-20])
    code = """
        import json, sys
        from iot_lake.readings import command_steps, distinct_readings, read_lines, read_readings, session
        spark = session("test", spark__master="local[1]", spark__ui__enabled="false")
        lines = read_readings(spark, sys.argv[1])
        everything = read_lines(spark, sys.argv[1])
        readings = distinct_readings(everything).cache()
        steps = command_steps(everything).orderBy("time").collect()
        by_sensor = {row.sensor: row["count"] for row in readings.groupBy("sensor").count().collect()}
        first = readings.where("seq = 0 AND sensor = 't'").first()
        print(json.dumps({
            "lines": lines.count(), "by_sensor": by_sensor, "columns": readings.columns,
            "at": str(first["at"]), "unit": first.unit, "app": spark.sparkContext.appName,
            "everything": everything.count(), "same": distinct_readings(lines).count() == readings.count(),
            "steps": [[s.node, s.target, s.command, s.wanted, s.state, s.reason, str(s["at"])] for s in steps],
            "text": readings.where("sensor = 'x'").first().text,
        }))
    """
    found = json.loads(run_python(spark_home, code, tmp_path))
    assert found["lines"] == 100 + 60 + 5 + 3 + 4 + 1
    assert found["by_sensor"] == {"t": 115, "u": 2, "x": 1}
    assert found["columns"][-1] == "at"
    assert "_uncounted" not in found["columns"]
    assert (found["unit"], found["text"], found["app"]) == ("Cel", "up", "test")
    assert found["at"].endswith(":13:20")
    assert found["everything"] == found["lines"] + 3
    assert found["same"]
    assert [step[:6] for step in found["steps"]] == [
        ["n", "light", "one", "60.0", "queued", ""],
        ["n", "light", "one", "60.0", "applied", ""],
    ]
    assert found["steps"][1][6].endswith(":13:21")
    assert not {"command", "reason", "wanted"} & set(found["columns"])


def test_pi_is_near_pi(spark_home, tmp_path):
    output = tmp_path / "pi"
    run_python(
        spark_home,
        """
        import os, subprocess, sys
        from iot_lake import pi
        submit = [os.environ["SPARK_HOME"] + "/bin/spark-submit", "--master", "local[1]",
                  "--conf", "spark.ui.enabled=false", pi.__file__, "2", sys.argv[1]]
        subprocess.run(submit, check=True)
        """,
        output,
    )
    (part,) = output.glob("part-*")
    result = json.loads(part.read_text())
    assert abs(result["pi"] - 3.14159) < 0.02
    assert result["application"].startswith("local-")
    assert result["samples"] == 400_000
