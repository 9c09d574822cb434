from pyspark.sql import functions as F

aggregates = (
    readings.groupBy("sensor", "unit")
    .agg(
        F.count("*").alias("readings"),
        F.round(F.min("value"), 6).alias("least"),
        F.round(F.avg("value"), 6).alias("mean"),
        F.round(F.max("value"), 6).alias("most"),
        F.round(F.expr("percentile_approx(received - time, 0.5)"), 3).alias("median s to the gateway"),
    )
    .orderBy("sensor")
)
aggregates.show(50, truncate=False)
