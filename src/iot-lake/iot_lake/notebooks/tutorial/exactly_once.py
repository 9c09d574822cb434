# With the number that was sent in the form above, the table says whether all of it can be queried.
sent = int(z.input("sent", "0"))
counted = spark.sql("SELECT count(*) FROM readings").first()[0]
rows = [("readings, each counted once", counted), ("lines stored", stored), ("duplicates removed", stored - counted)]
if sent:
    rows += [("readings sent", sent), ("readings missing", sent - counted)]
print("%table\nwhat\tcount")
for what, count in rows:
    print(f"{what}\t{count}")
