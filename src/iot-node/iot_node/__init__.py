"""The node agent and the telemetry generator."""
