"""What can go wrong in this package."""


class LakeError(Exception):
    """Base of the package's own errors."""


class MalformedNoteError(LakeError):
    """A note is not what Zeppelin writes, or a note's source folder is malformed."""
