"""Runs Juju charms and bundles on one Linux machine, without a Juju controller."""
