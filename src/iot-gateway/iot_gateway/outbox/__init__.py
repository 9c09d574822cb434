"""Outboxes: where readings wait, durably, for the uplink."""
