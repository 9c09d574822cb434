"""What can go wrong in the code that the charms share."""


class IotCharmError(Exception):
    """Base of the package's own errors; its text is fit for an operator to read."""


class InvalidDatabagError(IotCharmError):
    """The other end of a relation published something its interface does not allow."""


class InvalidConfigError(IotCharmError):
    """An option of the charm has a value that it can't have; the text names option, value and what is allowed."""


class DistributionError(IotCharmError):
    """A distribution (a tarball with the jars or wheels of a workload) can't be installed."""
