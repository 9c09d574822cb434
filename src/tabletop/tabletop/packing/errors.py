"""What can go wrong in packing."""

from tabletop.charmfile import CharmError


class PackError(CharmError):
    """A charm can't be packed; the text names the file and the key at fault."""
