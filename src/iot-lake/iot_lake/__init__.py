"""Spark jobs over the readings in HDFS, and the sources of the notebooks."""
