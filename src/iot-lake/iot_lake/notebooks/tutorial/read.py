# The form above narrows the tutorial to one node, such as a run of generate-data; empty takes all.
from iot_lake.readings import command_steps, distinct_readings, read_lines, session

node = z.input("node", "")

spark = session("Zeppelin Flume/HDFS Tutorial")
print(f"application {spark.sparkContext.applicationId} on {spark.sparkContext.master}")

lines = read_lines(spark, path)
if node:
    lines = lines.where(lines.node == node)
readings = distinct_readings(lines).cache()
readings.createOrReplaceTempView("readings")
# Changes of commands' states travel among the readings; they are none, and are not counted.
commands = command_steps(lines).cache()
commands.createOrReplaceTempView("commands")

stored, distinct = lines.where(lines.command.isNull()).count(), readings.count()
print(
    f"{stored:,} lines, of which {distinct:,} are distinct readings; {commands.count():,} changes of commands' states"
)
