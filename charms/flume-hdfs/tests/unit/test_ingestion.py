"""Counting what is in HDFS, and the action that tells of it."""

import gzip
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from ops import testing

import charm
import ingestion
from ingestion import Ingestion, UnreadableFileError, listing, wait_for
from iot_charm.flume import boundaries
from iot_charm.flume.store import StoreError
from iot_telemetry.reading import Reading

DAY = "/user/flume/flume-rabbitmq/2026-11-24"
Context = testing.Context[charm.FlumeHdfsCharm]


def batch(first: int, count: int, node: str = "n1") -> bytes:
    readings = (
        Reading(1.0, "s", "g", node, "t", "Cel", 20.5, None, None, seq, 2.0) for seq in range(first, first + count)
    )
    return b"".join(reading.to_line() + b"\n" for reading in readings)


def members(*batches: bytes) -> bytes:
    return b"".join(gzip.compress(body, 1) for body in batches)


def ingested(files: Any, node: str = "") -> Ingestion:
    return Ingestion(files, ("flume-rabbitmq",), node)


def test_counts_distinct_duplicates_and_gaps(files: Any):
    files.files = {
        f"{DAY}/FlumeData.1.gz": members(batch(0, 100), batch(100, 50)),
        f"{DAY}/FlumeData.2.gz": members(batch(140, 20), batch(170, 10)),
        f"{DAY}/FlumeData.3": batch(0, 5, "n2"),
        f"{DAY}/_flume-hdfs-0.x.FlumeData.4.gz.tmp": members(batch(160, 10)),
    }
    found = ingested(files)
    found.look()
    assert (found.distinct, found.duplicated, found.gaps, found.open_files) == (175, 10, 10, 1)


def test_counts_one_node_only(files: Any):
    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10) + batch(0, 4, "n2") + batch(0, 3, "n22"))}
    found = ingested(files, "n2")
    found.look()
    assert found.distinct == 4


def test_commands_are_not_counted(files: Any):
    told = replace(
        Reading(1.0, "s", "g", "n1", "command/light", "", None, "applied", None, None, 2.0), command="one", reason=""
    )
    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10) + told.to_line() + b"\n")}
    for node in ("", "n1"):
        found = ingested(files, node)
        found.look()
        assert (found.distinct, found.malformed) == (10, 0)


def test_each_file_is_counted_once_however_often_it_looks(files: Any):
    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10))}
    found = ingested(files)
    found.look()
    files.files[f"{DAY}/FlumeData.2.gz"] = members(batch(10, 10))
    found.look()
    assert (found.distinct, found.duplicated) == (20, 0)


def test_a_torn_file_counts_as_open_until_it_is_mended(files: Any):
    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10), batch(10, 10))[:-3], f"{DAY}/FlumeData.2.gz": b""}
    found = ingested(files)
    found.look()
    assert (found.distinct, found.open_files) == (0, 2)
    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10))}
    found.look()
    assert (found.distinct, found.open_files) == (10, 0)


def test_a_file_that_cannot_be_read_yet_counts_as_open(files: Any, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> bytes:
        raise StoreError("Cannot obtain block length")

    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10))}
    monkeypatch.setattr(files, "read", refuse)
    found = ingested(files)
    found.look()
    assert (found.distinct, found.open_files) == (0, 1)


def test_lines_that_are_no_readings_are_counted_apart(files: Any):
    files.files = {f"{DAY}/FlumeData.1": batch(0, 3) + b"\n{}\nnonsense\n"}
    found = ingested(files)
    found.look()
    assert (found.distinct, found.malformed) == (3, 2)


def test_formats_that_cannot_be_counted_are_told(files: Any):
    files.files = {f"{DAY}/FlumeData.1.avro": b"x"}
    with pytest.raises(UnreadableFileError, match=r"FlumeData\.1\.avro"):
        ingested(files).look()


def test_all_event_directories_but_the_smoke_tests(files: Any):
    files.files = {
        f"{DAY}/FlumeData.1": batch(0, 3),
        "/user/flume/other/2026-11-24/FlumeData.1": batch(3, 3),
        "/user/flume/smoke-test/flume-hdfs-0/FlumeData.1": b"hello\n",
    }
    found = Ingestion(files, ())
    found.look()
    assert (found.distinct, found.malformed) == (6, 0)


def test_memory_does_not_grow_with_what_a_file_holds(files: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ingestion, "DECODED_BYTES", 4096)
    monkeypatch.setattr(boundaries, "DECODED_BYTES", 4096)
    body = batch(0, 20_000)
    files.files = {f"{DAY}/FlumeData.1.gz": members(body)}
    tracemalloc.start()
    found = ingested(files)
    found.look()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.distinct == 20_000
    assert peak < len(body) / 4


def test_waits_until_all_is_there(files: Any):
    files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10))}
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        files.files[f"{DAY}/FlumeData.2.gz"] = members(batch(10, 10))

    wait_for(ingested(files), 20, timeout_s=5, progress=progress, pause_s=0)
    assert told == [
        "10 of 20 readings are in HDFS, 0 files are still open",
        "20 of 20 readings are in HDFS, 0 files are still open",
    ]


def test_listing_looks_like_hadoops(files: Any, monkeypatch: pytest.MonkeyPatch):
    files.files = {f"{DAY}/FlumeData.1.gz": b"x" * 7}
    lines = list(listing(files, "/user/flume/flume-rabbitmq"))
    assert lines[0].startswith("drwxr-xr-x   - flume supergroup          0 ")
    assert lines[1].startswith("-rw-r--r--   3 flume supergroup          7 ")
    assert lines[1].endswith(f" {DAY}/FlumeData.1.gz")


def test_the_action_succeeds_when_all_is_there(context: Context, state: testing.State, flume: Any):
    flume.files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10), batch(5, 5))}
    context.run(context.on.action("verify-ingestion", params={"node": "n1", "sent": 10}), state)
    results = context.action_results
    assert results
    assert {key: results[key] for key in ("sent", "in-hdfs", "lost", "duplicated")} == {
        "sent": 10,
        "in-hdfs": 10,
        "lost": 0,
        "duplicated": 5,
    }
    assert "FlumeData.1.gz" in results["listing"]
    assert context.action_logs == ["10 of 10 readings are in HDFS, 0 files are still open"]


def test_the_action_fails_with_figures_and_a_hint(context: Context, state: testing.State, flume: Any):
    flume.files.files = {
        f"{DAY}/FlumeData.1.gz": members(batch(0, 10)),
        f"{DAY}/_flume-hdfs-0.x.FlumeData.4.gz.tmp": b"",
    }
    with pytest.raises(testing.ActionFailed, match=r"2 of 12 readings .* a file is still open, .* 300 s"):
        context.run(context.on.action("verify-ingestion", params={"sent": 12, "timeout": 0}), state)
    assert context.action_results
    assert context.action_results["lost"] == 2


def test_the_action_tells_losses_from_gaps(context: Context, state: testing.State, flume: Any):
    flume.files.files = {f"{DAY}/FlumeData.1.gz": members(batch(0, 10), batch(12, 3))}
    with pytest.raises(testing.ActionFailed, match=r"2 of 15 readings are not in HDFS$"):
        context.run(context.on.action("verify-ingestion"), state)


def test_the_hint_where_files_have_no_age_limit(context: Context, state: testing.State, flume: Any):
    flume.files.files = {f"{DAY}/_a.FlumeData.1.gz.tmp": b"", f"{DAY}/_a.FlumeData.2.gz.tmp": b""}
    with pytest.raises(testing.ActionFailed, match="2 files are still open, and a file appears when it is full"):
        context.run(
            context.on.action("verify-ingestion", params={"sent": 1, "timeout": 0}),
            replace(state, config={"roll_interval": 0}),
        )


def test_malformed_lines_show(context: Context, state: testing.State, flume: Any):
    flume.files.files = {f"{DAY}/FlumeData.1": b"nonsense\n"}
    context.run(context.on.action("verify-ingestion"), state)
    assert context.action_results
    assert context.action_results["malformed"] == 1
