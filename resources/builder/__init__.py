"""Builds the resources of the charms: one tarball a JVM distribution, from pinned artifacts.

Standard library only, so that it runs before anything is installed.
"""
