"""Checks of bundles and charms that need no model: what is wrong, and what is missing, with file and line."""

from tabletop.lint.bundles import lint_bundle
from tabletop.lint.charms import lint_charm
from tabletop.lint.findings import Finding, Findings

__all__ = ["Finding", "Findings", "lint_bundle", "lint_charm"]
