"""Why something of Juju's isn't here, or has no effect: what is said of it in more than one place."""

NO_STORE = "charms come from files; there is no Charmhub here"
NO_EXPOSING = "open ports can be reached from this machine and from no other, always"
ONLY_SPACE = "alpha"
NO_SPACES = f"there is one network and one space, {ONLY_SPACE}"
