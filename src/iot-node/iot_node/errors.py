"""What can go wrong in a node; every text is fit for the operator to read."""


class NodeError(Exception):
    """Base of the package's own errors."""


class ConfigError(NodeError):
    """The configuration, or the file with the credentials, can't be used."""


class UnknownProfileError(NodeError):
    """There is no profile of that name."""


class StoreError(NodeError):
    """The node's store on disk can't be read or written."""


class LinkError(NodeError):
    """The gateway can't be reached, or refuses what the node sends."""
