"""The readings in HDFS as a DataFrame."""
# PySpark comes with the Spark distribution and is not among the packages that the type checker sees.
# pyright: basic, reportMissingImports=false

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - what everyone calls it
from pyspark.sql import types as T  # noqa: N812 - likewise

DEFAULT_PATH = "/user/flume/flume-rabbitmq"
"""Where the flume-hdfs charm writes by default; a full URI ``hdfs://host:port/...`` is as good."""

SCHEMA = T.StructType(
    [
        T.StructField("time", T.DoubleType()),
        T.StructField("site", T.StringType()),
        T.StructField("gateway", T.StringType()),
        T.StructField("node", T.StringType()),
        T.StructField("sensor", T.StringType()),
        T.StructField("unit", T.StringType()),
        T.StructField("value", T.DoubleType()),
        T.StructField("text", T.StringType()),
        T.StructField("flag", T.BooleanType()),
        T.StructField("seq", T.LongType()),
        T.StructField("received", T.DoubleType()),
        T.StructField("command", T.StringType()),
        T.StructField("reason", T.StringType()),
        T.StructField("wanted", T.StringType()),
    ]
)
"""A reading, as a line of JSON has it; ``time`` and ``received`` are seconds since the epoch, UTC.

The last three columns are those of lines that tell of a command's changes of state, and null in readings.
"""

NOT_IN_USE = "*{[!p],[!m]p,[!t]mp,[!.]tmp}"
"""Glob of names that do not end in ``.tmp``: a file that Flume still writes ends so, and is read once it is closed."""


def session(app_name: str, **settings: str) -> SparkSession:
    """Start a Spark session, or return the one that runs.

    Master, memory and the rest come from ``spark-defaults.conf`` in SPARK_CONF_DIR.

    Args:
        app_name: shown by YARN and the history server.
        settings: further settings of Spark's, ``__`` standing for the dot in a name.
    """
    builder = SparkSession.builder.appName(app_name).config("spark.sql.session.timeZone", "UTC")
    for name, value in settings.items():
        builder = builder.config(name.replace("__", "."), value)
    return builder.getOrCreate()


def read_lines(spark: SparkSession, path: str = DEFAULT_PATH) -> DataFrame:
    """Read all closed files in a folder and below.

    Returns:
        A row a line, of readings and of commands. A line that is neither is a row of nulls, so that counting rows
        counts lines. Batches may have come more than once: see :func:`distinct_readings`, :func:`command_steps`.
    """
    return (
        spark.read.schema(SCHEMA)
        .option("recursiveFileLookup", "true")
        .option("pathGlobFilter", NOT_IN_USE)
        .option("mode", "PERMISSIVE")
        .json(path)
    )


def read_readings(spark: SparkSession, path: str = DEFAULT_PATH) -> DataFrame:
    """Read all closed files in a folder and below, but for what they tell of commands; see :func:`read_lines`."""
    return read_lines(spark, path).where(F.col("command").isNull())


def distinct_readings(readings: DataFrame) -> DataFrame:
    """Keep one of each reading, and only readings, no commands: delivery is at least once, this makes it exactly once.

    The key is (node, sensor, seq), or (node, sensor, time) where the node does not count.

    Returns:
        The columns of a reading and ``at``, the time as a timestamp.
    """
    uncounted = F.when(F.col("seq").isNull(), F.col("time"))
    return (
        readings.where(F.col("command").isNull())
        .drop("command", "reason", "wanted")
        .where(F.col("node").isNotNull() & F.col("sensor").isNotNull() & F.col("time").isNotNull())
        .withColumn("_uncounted", uncounted)
        .dropDuplicates(["node", "sensor", "seq", "_uncounted"])
        .drop("_uncounted")
        .withColumn("at", F.timestamp_seconds("time"))
    )


def command_steps(lines: DataFrame) -> DataFrame:
    """Keep one of each change of a command's state: a gateway that died may have told it twice.

    Args:
        lines: as :func:`read_lines` gives them.

    Returns:
        ``site``, ``gateway``, ``node``, ``target``, ``command`` (its identifier), ``wanted`` (JSON), ``state``,
        ``reason``, ``time`` (s since the epoch) and ``at``, the time as a timestamp.
    """
    return (
        lines.where(F.col("command").isNotNull())
        .select(
            "site",
            "gateway",
            "node",
            F.expr("substring(sensor, length('command/') + 1)").alias("target"),
            "command",
            "wanted",
            F.col("text").alias("state"),
            "reason",
            "time",
            F.timestamp_seconds("time").alias("at"),
        )
        .dropDuplicates(["gateway", "command", "state"])
    )
