"""Flume agents: what the charms that run one share.

``agent`` knows where an agent's things are, ``properties`` how a configuration is written, ``rabbitmq`` and ``hdfs``
what the two agents of the bundle consist of. ``watchdog`` and ``recovery`` are daemons that keep an agent company;
``boundaries`` tells where a file that its writer left can be cut.
"""
