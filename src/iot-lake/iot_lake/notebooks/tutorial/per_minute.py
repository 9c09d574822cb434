averages = spark.sql("""
    SELECT date_format(date_trunc('MINUTE', at), 'yyyy-MM-dd HH:mm') AS minute, sensor, round(avg(value), 3) AS average
    FROM readings
    WHERE value IS NOT NULL
    GROUP BY 1, 2
    ORDER BY 1, 2
    LIMIT 1000
""")
print("%table\n" + "\t".join(averages.columns))
for row in averages.collect():
    print("\t".join(str(value) for value in row))
