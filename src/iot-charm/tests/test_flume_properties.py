"""What the agents' configuration says, read back the way Java reads it."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_charm.flume import hdfs, rabbitmq
from iot_charm.flume.agent import Agent
from iot_charm.flume.properties import escape, render

BROKER = rabbitmq.Broker((("10.0.0.2", 5672),), "iot", "flume-rabbitmq", "p@ss/w+rd%", "iot.telemetry")
DRAIN = rabbitmq.RabbitmqAgent(
    sources=2,
    batch_size=20,
    event_dir="flume-rabbitmq",
    channel_capacity=10000,
    channel_transaction_capacity=1000,
    targets=(rabbitmq.Target("flume-hdfs/0", "10.0.0.3", 4141),),
)
WRITE = hdfs.HdfsAgent(
    unit="flume-hdfs-0",
    hdfs_uri="hdfs://10.0.0.4:8020",
    source_port=4141,
    batch_encoding="gzip",
    roll_interval=300,
    roll_count=0,
    roll_size=10_000_000,
    sink_serializer="text",
    sink_compression="",
    channel_capacity=10000,
    channel_transaction_capacity=1000,
)


def java_value(text: str) -> str:
    """Read a value as java.util.Properties.load does."""
    out: list[str] = []
    rest = iter(text.lstrip(" \t"))
    for character in rest:
        if character != "\\":
            out.append(character)
            continue
        following = next(rest)
        if following == "u":
            out.append(chr(int("".join(next(rest) for _ in range(4)), 16)))
        else:
            out.append({"n": "\n", "r": "\r", "t": "\t"}.get(following, following))
    return "".join(out).encode("utf-16", "surrogatepass").decode("utf-16")


def parsed(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key.strip(): java_value(value) for key, _, value in (line.partition("=") for line in lines)}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_java_reads_what_was_written(value: str):
    assert java_value(escape(value)) == value
    assert "\n" not in escape(value)


def test_render_prefixes_and_booleans():
    assert parsed(render([("", {"sources": "a"}), ("sources.a", {"flag": True, "size": 3})])) == {
        "agent.sources": "a",
        "agent.sources.a.flag": "true",
        "agent.sources.a.size": "3",
    }


def values(text: str, bean: str) -> dict[str, list[str]]:
    """Return the properties of a bean: texts, and for references the names that they stand under."""
    spring = "{http://www.springframework.org/schema/beans}"
    (found,) = (each for each in ElementTree.fromstring(text).iter(f"{spring}bean") if each.get("id") == bean)
    return {
        made.get("name", ""): [
            *filter(None, [made.get("value")]),
            *(each.text or "" for each in made.iter(f"{spring}value")),
            *(f"{each.get('key')}={each.get('value-ref')}" for each in made.iter(f"{spring}entry")),
        ]
        for made in found.iter(f"{spring}property")
    }


def test_beans_carry_the_password_quoted_for_a_uri():
    text = rabbitmq.beans(BROKER)
    assert values(text, "broker") == {
        "uris": ["amqp://flume-rabbitmq:p%40ss%2Fw%2Brd%25@10.0.0.2:5672/iot"],
        "terminationTimeout": ["15000"],
    }
    assert values(text, "queue")["amqpQueueName"] == ["iot.telemetry"]
    assert values(text, "jndi") == {"entries": ["broker=broker", "queue=queue"]}


def test_beans_for_tls_verify_authority_and_name_and_say_so_behind_the_uris():
    found = values(rabbitmq.beans(replace(BROKER, ca="PEM")), "broker")
    assert list(found) == ["uris", "terminationTimeout", "ssl", "useDefaultSslContext", "hostnameVerification"]
    assert all(found[name] == ["true"] for name in ("ssl", "useDefaultSslContext", "hostnameVerification"))
    assert "PEM" not in rabbitmq.beans(replace(BROKER, ca="PEM"))
    assert rabbitmq.trust_options(Path("/etc/flume/u/t.p12"))[0] == "-Djavax.net.ssl.trustStore=/etc/flume/u/t.p12"


def test_beans_name_every_broker_of_a_cluster_and_any_queue():
    cluster = replace(BROKER, addresses=(("10.0.0.2", 5672), ("10.0.0.5", 5673)), queue='<"a" & b>')
    uris = values(rabbitmq.beans(cluster), "broker")["uris"]
    assert [uri.partition("@")[2] for uri in uris] == ["10.0.0.2:5672/iot", "10.0.0.5:5673/iot"]
    assert values(rabbitmq.beans(cluster), "queue")["amqpQueueName"] == ['<"a" & b>']


def test_a_colon_in_the_password_is_refused_with_a_remedy_and_without_the_password():
    with pytest.raises(rabbitmq.UnusableCredentialsError, match="give the user another") as raised:
        rabbitmq.beans(replace(BROKER, password="se:cret"))
    assert "se:cret" not in str(raised.value)


def test_each_source_has_a_name_of_its_own_and_overrides_the_event_directory():
    found = parsed(rabbitmq.properties(DRAIN, beans_file=Path("/etc/flume/u/jndi.xml"), data=Path("/var/lib/flume/u")))
    assert found["agent.sources"] == "rabbitmq0 rabbitmq1"
    assert found["agent.sources.rabbitmq1.providerURL"] == "file:///etc/flume/u/jndi.xml"
    assert found["agent.sources.rabbitmq1.interceptors.directory.value"] == "flume-rabbitmq"
    assert found["agent.sources.rabbitmq1.interceptors.directory.preserveExisting"] == "false"
    assert found["agent.channels.disk.type"] == "file"
    assert "agent.sinkgroups" not in found


def test_several_targets_share_the_load():
    targets = (*DRAIN.targets, rabbitmq.Target("flume-hdfs/1", "10.0.0.6", 4141))
    found = parsed(
        rabbitmq.properties(replace(DRAIN, targets=targets), beans_file=Path("/etc/f"), data=Path("/var/lib/f"))
    )
    assert found["agent.sinkgroups.targets.sinks"] == found["agent.sinks"] == "avro0 avro1"
    assert found["agent.sinks.avro1.hostname"] == "10.0.0.6"


@pytest.mark.parametrize(
    ("changes", "suffix"),
    [
        ({}, ".gz"),
        ({"batch_encoding": "identity"}, ""),
        ({"batch_encoding": "identity", "sink_compression": "gzip"}, ".gz"),
        ({"batch_encoding": "identity", "sink_compression": "snappy"}, ".snappy"),
        ({"sink_serializer": "avro_event"}, ".avro"),
    ],
)
def test_the_suffix_tells_readers_what_is_in_a_file(changes: dict[str, str], suffix: str):
    found = parsed(hdfs.properties(replace(WRITE, **changes), data=Path("/var/lib/flume/u")))
    assert found["agent.sinks.hdfs.hdfs.fileSuffix"] == suffix
    compressed = bool(changes.get("sink_compression"))
    assert found["agent.sinks.hdfs.hdfs.fileType"] == ("CompressedStream" if compressed else "DataStream")
    assert ("agent.sinks.hdfs.hdfs.codeC" in found) == compressed


def test_open_files_are_hidden_and_name_their_writer():
    found = parsed(hdfs.properties(WRITE, data=Path("/var/lib/flume/u")))
    assert found["agent.sinks.hdfs.hdfs.inUsePrefix"] == "_flume-hdfs-0.${env:INVOCATION_ID}."
    assert found["agent.sinks.hdfs.hdfs.path"] == "hdfs://10.0.0.4:8020/user/flume/%{event_dir}/%Y-%m-%d"
    assert found["agent.sinks.hdfs.serializer.appendNewline"] == "false"


def test_two_units_on_a_machine_share_nothing():
    first, second = Agent("flume-hdfs/0"), Agent("flume-rabbitmq/0")
    for name in ("service", "conf", "properties_file", "hadoop_conf", "data", "home"):
        assert getattr(first, name) != getattr(second, name)
    assert Agent("ingest/0").service == "flume-ingest-0"


def test_the_unit_runs_the_agent_as_flume_with_its_heap():
    text = Agent("flume-hdfs/0").unit_text(description="d", java_home=Path("/jre"), heap_mb=700, java_options=["-Da=b"])
    assert "User=flume" in text
    assert "-Xmx700m" in text
    assert "/opt/flume-dist-flume-hdfs/bin/flume-ng agent" in text
    assert "Restart=always" in text
