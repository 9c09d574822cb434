# The form above narrows the tutorial to one node, such as a run of generate-data; empty takes all.
from iot_lake.readings import distinct_readings, read_readings, session

node = z.input("node", "")

spark = session("Zeppelin Flume/HDFS Tutorial")
print(f"application {spark.sparkContext.applicationId} on {spark.sparkContext.master}")

lines = read_readings(spark, path)
if node:
    lines = lines.where(lines.node == node)
readings = distinct_readings(lines).cache()
readings.createOrReplaceTempView("readings")

stored, distinct = lines.count(), readings.count()
print(f"{stored:,} lines, of which {distinct:,} are distinct readings")
