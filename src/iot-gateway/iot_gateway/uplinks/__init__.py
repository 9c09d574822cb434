"""Uplinks: how the gateway speaks to the analytics chain."""
