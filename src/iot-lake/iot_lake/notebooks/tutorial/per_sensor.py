counts = spark.sql("SELECT sensor, count(*) AS readings FROM readings GROUP BY sensor ORDER BY sensor")
print("%table\n" + "\t".join(counts.columns))
for row in counts.collect():
    print("\t".join(str(value) for value in row))
