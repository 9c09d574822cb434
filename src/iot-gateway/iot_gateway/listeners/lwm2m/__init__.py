"""An LwM2M 1.1 server for sensors and actuators; part of the CoAP listener, whose port and security it shares.

Nodes register; the gateway observes the values of the objects that they offer, and so they become readings; commands
become writes and executions.
"""
