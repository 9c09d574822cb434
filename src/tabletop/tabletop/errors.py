"""What tabletop tells its operator when something can't be done."""


class TabletopError(Exception):
    """Base of the package's errors; its text is one or two sentences: what is wrong, and what to do about it."""
