"""``spark``: a client that runs Spark applications the way the ``spark`` charm is configured to."""

from typing import Literal

from iot_charm.interfaces.databag import Databag


class SparkService(Databag):
    """Published by the spark charm's unit, once an application can be submitted."""

    version: str
    execution_mode: Literal["local", "yarn-client", "yarn-cluster"]
    archive: str
    """``spark.yarn.archive``: full HDFS URI of the zip of Spark's jars; empty in local mode."""
    event_log_dir: str
    """``spark.eventLog.dir``: full HDFS URI."""
    history_url: str
    """The history server's page."""
    driver_memory: str
    executor_memory: str
