"""Spark jobs over the readings in HDFS, and the sources of the notebooks.

:mod:`iot_lake.readings` and :mod:`iot_lake.pi` run under Spark; all else needs the standard library alone.
"""
