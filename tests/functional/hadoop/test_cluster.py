"""HDFS and YARN as the charms set them up: the tests build on one another, in their order."""

import shutil
import subprocess
from pathlib import Path

import pytest

from iot_charm import hadoop, hadoop_node
from iot_charm.webhdfs import WebHdfs, WebHdfsError

ADDRESS = "127.0.0.1"
BLOCK_SIZE = 1 << 20

pytestmark = pytest.mark.timeout(600)


def settings(cluster, **changes):
    return cluster.namenode.Settings(
        **{"address": ADDRESS, "replication": 3, "block_size": BLOCK_SIZE, "heap_mb": 256, **changes}
    )


def worker_settings(cluster):
    return cluster.worker.Settings(
        address=ADDRESS,
        memory_mb=2048,
        vcores=4,
        datanode_heap_mb=192,
        nodemanager_heap_mb=192,
        reserved_mb=16,
    )


def file_system(cluster):
    return cluster.worker.FileSystem(
        host=ADDRESS,
        port=cluster.namenode.PORT,
        replication=1,
        block_size=BLOCK_SIZE,
        cluster_id=cluster.namenode.report(ADDRESS).cluster_id,
    )


def hdfs_for_jobs(cluster):
    return cluster.resourcemanager.FileSystem(
        host=ADDRESS, port=cluster.namenode.PORT, replication=1, block_size=BLOCK_SIZE
    )


def command(machine, *words: str) -> str:
    done = subprocess.run(
        [hadoop.HOME / "bin" / words[0], *words[1:]],
        env={"PATH": "/usr/bin:/bin", **hadoop_node.environment(), "HADOOP_CONF_DIR": str(machine.conf)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_namenode_is_formatted_and_answers(cluster):
    assert cluster.namenode.ensure_running(settings(cluster))
    report = cluster.namenode.wait_for_report(ADDRESS, datanodes=0, timeout_s=120)
    assert report is not None, cluster.processes.log("hadoop-namenode")
    assert report.datanodes == 0
    assert report.cluster_id.startswith("CID-")


def test_a_datanode_joins_and_files_can_be_written(cluster):
    assert cluster.worker.ensure_datanode(worker_settings(cluster), file_system(cluster))
    assert cluster.worker.wait_for_datanode(ADDRESS, 120), cluster.processes.log("hadoop-datanode")
    assert cluster.namenode.wait_for_report(ADDRESS, datanodes=1, timeout_s=120).datanodes == 1
    assert cluster.namenode.smoke_test(ADDRESS, replication=1, size=3 * BLOCK_SIZE) > 0


def test_users_have_homes_that_others_can_not_write(cluster):
    assert cluster.namenode.ensure_homes(ADDRESS, ["flume", "mapred"]) == ["flume", "mapred"]
    flume = WebHdfs(ADDRESS, cluster.namenode.WEB_PORT, user="flume")
    assert flume.status("/tmp").permission == "1777"
    assert flume.status("/user/flume").owner == "flume"
    flume.write("/user/flume/a", b"x" * 1000, replication=1)
    assert flume.read("/user/flume/a") == b"x" * 1000
    assert flume.status("/user/flume/a").replication == 1
    stranger = WebHdfs(ADDRESS, cluster.namenode.WEB_PORT, user="stranger")
    with pytest.raises(WebHdfsError, match="Permission denied"):
        stranger.write("/user/flume/b", b"x", replication=1)


def test_the_commands_reach_it(cluster):
    listing = command(cluster.namenode, "hadoop", "fs", "-ls", "-R", "/user/flume")
    assert "flume supergroup       1000" in listing
    assert "is HEALTHY" in command(cluster.namenode, "hdfs", "fsck", "/")
    assert "Hadoop 3.5.0" in command(cluster.namenode, "hadoop", "version")


def test_an_unchanged_namenode_is_left_alone(cluster):
    process = cluster.processes.running["hadoop-namenode"]
    assert not cluster.namenode.ensure_running(settings(cluster))
    assert cluster.processes.running["hadoop-namenode"] is process


def test_a_backup_can_take_the_place_of_a_lost_tree_of_names(cluster, tmp_path: Path):
    saved = cluster.namenode.backup(ADDRESS, tmp_path / "backup")
    assert saved.parent == tmp_path / "backup"
    (image,) = (path for path in saved.glob("fsimage_*") if not path.suffix)
    listing = tmp_path / "listing"
    command(cluster.namenode, "hdfs", "oiv", "-p", "Delimited", "-i", str(image), "-o", str(listing))
    assert "/user/flume/a" in listing.read_text()
    assert not cluster.namenode.report(ADDRESS).safe_mode

    cluster.namenode.stop()
    assert cluster.namenode.is_stopped()
    assert not cluster.namenode.ensure_running(settings(cluster))
    assert cluster.namenode.report(ADDRESS) is None

    current = cluster.namenode.NAME_DIRECTORY / "current"
    shutil.rmtree(current)
    shutil.copytree(saved, current)
    cluster.namenode.allow_start()
    assert cluster.namenode.ensure_running(settings(cluster, heap_mb=300))
    report = cluster.namenode.wait_for_report(ADDRESS, datanodes=1, timeout_s=90)
    assert report is not None, cluster.processes.log("hadoop-namenode")
    assert not report.safe_mode
    flume = WebHdfs(ADDRESS, cluster.namenode.WEB_PORT, user="flume")
    assert flume.read("/user/flume/a") == b"x" * 1000


def test_yarn_runs_a_job(cluster):
    rm = cluster.resourcemanager
    assert rm.ensure_resourcemanager(ADDRESS, hdfs_for_jobs(cluster), heap_mb=256)
    assert rm.wait_for_resourcemanager(ADDRESS, 120), cluster.processes.log("hadoop-resourcemanager")
    assert rm.nodemanagers(ADDRESS) == 0
    assert rm.ensure_historyserver(ADDRESS, hdfs_for_jobs(cluster), heap_mb=192)
    assert cluster.worker.ensure_nodemanager(worker_settings(cluster), file_system(cluster), cluster.addresses)
    assert cluster.worker.wait_for_nodemanager(ADDRESS, cluster.addresses, 120), cluster.processes.log(
        "hadoop-nodemanager"
    )
    assert rm.nodemanagers(ADDRESS) == 1
    assert rm.wait_for_historyserver(ADDRESS, 120)
    assert rm.smoke_test() > 0
    assert "SUCCEEDED" in command(cluster.resourcemanager, "yarn", "application", "-list", "-appStates", "FINISHED")
