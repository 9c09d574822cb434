"""Bundles: reading one with its overlays, checking it against its charms' metadata, deploying it."""

from tabletop.bundles.check import plan
from tabletop.bundles.deploy import Deployment
from tabletop.bundles.problems import BundleError
from tabletop.bundles.source import find_bundle

__all__ = ["BundleError", "Deployment", "find_bundle", "plan"]
