"""``mapred``: a client of YARN and the ResourceManager that serves it."""

from pydantic import Field

from iot_charm.interfaces.databag import Databag


class ResourceManager(Databag):
    """Published by the ResourceManager's unit, once YARN answers."""

    host: str
    port: int = Field(ge=1, le=65535)
    """Clients submit applications here."""
    scheduler_port: int = Field(ge=1, le=65535)
    tracker_port: int = Field(ge=1, le=65535)
    web_port: int = Field(ge=1, le=65535)
    history_port: int = Field(ge=1, le=65535)
    history_web_port: int = Field(ge=1, le=65535)
    nodemanagers: int = Field(default=0, ge=0)
    """NodeManagers that are running."""
