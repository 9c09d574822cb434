"""Listeners: how nodes speak to the gateway."""
