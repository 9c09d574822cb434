# What was wanted of the nodes, beside what they measured. Ends are states after which nothing comes.
given = spark.sql("""
    SELECT date_format(min(at), 'yyyy-MM-dd HH:mm:ss') AS given, node, target, max(wanted) AS wanted,
           max_by(state, time) AS state, max_by(reason, time) AS reason, round(max(time) - min(time), 1) AS seconds
    FROM commands
    GROUP BY gateway, command, node, target
    ORDER BY given DESC
    LIMIT 100
""").collect()
if given:
    print("%table\n" + "\t".join(given[0].asDict()))
    for row in given:
        print("\t".join(str(value) for value in row))
else:
    print("no commands were given; try: juju run gateway/0 send-command node=sensor-node-0 target=light value=60")
