import os
import pwd
import xml.etree.ElementTree as ET
from pathlib import Path

from iot_charm import hadoop
from iot_charm.interfaces.mapred import ResourceManager

ME = pwd.getpwuid(os.geteuid()).pw_name
RM = ResourceManager(
    host="10.0.0.2",
    port=8032,
    scheduler_port=8030,
    tracker_port=8031,
    web_port=8088,
    history_port=10020,
    history_web_port=19888,
)


def properties(path: Path) -> dict[str, str]:
    return {item.findtext("name", ""): item.findtext("value", "") for item in ET.parse(path).getroot().iter("property")}


def write(folder: Path, **arguments: object) -> bool:
    return hadoop.write_client_conf(
        folder,
        namenode_host="10.0.0.1",
        namenode_port=8020,
        replication=2,
        block_size=1 << 27,
        owner=ME,
        **arguments,  # pyright: ignore
    )


def test_site_xml_is_sorted_and_escaped():
    text = hadoop.site_xml({"b": 'a & b < "c"', "a": True, "c": 3})
    root = ET.fromstring(text)
    assert [(item.findtext("name"), item.findtext("value")) for item in root] == [
        ("a", "true"),
        ("b", 'a & b < "c"'),
        ("c", "3"),
    ]
    assert text.startswith('<?xml version="1.0"')


def test_a_client_of_hdfs_alone(tmp_path: Path):
    folder = tmp_path / "conf"
    assert write(folder)
    assert properties(folder / "core-site.xml")["fs.defaultFS"] == "hdfs://10.0.0.1:8020"
    hdfs = properties(folder / "hdfs-site.xml")
    assert hdfs["dfs.replication"] == "2"
    assert hdfs["dfs.blocksize"] == "134217728"
    assert sorted(path.name for path in folder.iterdir()) == ["core-site.xml", "hdfs-site.xml"]
    assert not write(folder)


def test_yarn_comes_and_goes(tmp_path: Path):
    folder = tmp_path / "conf"
    write(folder)
    assert write(folder, resourcemanager=RM, extra_yarn={"x": 1}, extra_mapred={"mapreduce.framework.name": "local"})
    yarn = properties(folder / "yarn-site.xml")
    assert yarn["yarn.resourcemanager.address"] == "10.0.0.2:8032"
    assert yarn["x"] == "1"
    mapred = properties(folder / "mapred-site.xml")
    assert mapred["mapreduce.jobhistory.address"] == "10.0.0.2:10020"
    assert mapred["mapreduce.framework.name"] == "local"
    assert write(folder)
    assert not (folder / "yarn-site.xml").exists()
    assert not (folder / "mapred-site.xml").exists()
