"""Packs a charm's folder into a `.charm`, of the layout that charmcraft's python plugin makes."""

from tabletop.packing.pack import Packed, pack
from tabletop.packing.parts import PackError

__all__ = ["PackError", "Packed", "pack"]
