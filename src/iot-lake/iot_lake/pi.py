"""A Spark job that estimates pi, for a proof that a cluster computes: ``spark-submit pi.py PARTITIONS [OUTPUT]``."""
# PySpark comes with the Spark distribution and is not among the packages that the type checker sees.
# pyright: basic, reportMissingImports=false

import json
import random
import sys

from pyspark.sql import SparkSession

SAMPLES = 200_000
"""Points a partition."""


def inside(partition: int) -> int:
    """Count the random points of a partition that lie in the quarter circle."""
    source = random.Random(partition)  # noqa: S311 - no secret is made
    return sum(source.random() ** 2 + source.random() ** 2 <= 1 for _ in range(SAMPLES))


def main(arguments: list[str]) -> None:
    """Run the job; the result is printed and, with OUTPUT, written to that folder of HDFS as one line of JSON."""
    partitions = int(arguments[0])
    spark = SparkSession.builder.appName("sparkpi").getOrCreate()
    context = spark.sparkContext
    hits = context.parallelize(range(partitions), partitions).map(inside).sum()
    result = {
        "pi": 4 * hits / (partitions * SAMPLES),
        "application": context.applicationId,
        "master": context.master,
        "samples": partitions * SAMPLES,
    }
    line = json.dumps(result)
    if len(arguments) > 1:
        context.parallelize([line], 1).saveAsTextFile(arguments[1])
    print(line)  # noqa: T201 - it is a job's output
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
