"""Packs a charm's folder into a `.charm`, of the layout that charmcraft's python plugin makes."""

from tabletop.packing.errors import PackError
from tabletop.packing.pack import Packed, pack

__all__ = ["PackError", "Packed", "pack"]
