"""The verbs of the command line: a module for those that belong together, loaded only when one is used."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from tabletop.errors import TabletopError
from tabletop.session import Session


class UsageError(TabletopError):
    """The command line makes no sense; it ends the program with exit status 2."""


class Command(ABC):
    """One verb."""

    intermixed = True
    """Whether options may stand among the other arguments; not so where a foreign command line follows."""

    @abstractmethod
    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    @abstractmethod
    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Do it; return the exit status (None: 0)."""


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's command is, and what to say of it in a list."""

    module: str
    command: str
    summary: str


VERBS: Mapping[str, Verb] = {
    # tabletop's own words
    "bootstrap": Verb("host", "Bootstrap", "Prepare this machine: packages, base image, daemon"),
    "destroy": Verb("host", "Destroy", "Remove everything tabletop made: models, machines, network, rules"),
    "daemon": Verb("host", "Daemon", "Start or stop the daemon, or say how it is"),
    "pack": Verb("pack", "Pack", "Pack a charm's folder into a .charm"),
    "addresses": Verb("status", "Addresses", "List the machines' names and addresses"),
    # Juju's words
    "add-model": Verb("models", "AddModel", "Add a model"),
    "destroy-model": Verb("models", "DestroyModel", "Remove a model with its machines"),
    "models": Verb("models", "Models", "List the models"),
    "show-model": Verb("models", "ShowModel", "Show a model"),
    "switch": Verb("models", "Switch", "Make a model the current one, or say which is"),
    "model-config": Verb("modelconfig", "ModelConfig", "Show or set a model's configuration"),
    "model-constraints": Verb("modelconfig", "ModelConstraints", "Show a model's constraints"),
    "set-model-constraints": Verb("modelconfig", "SetModelConstraints", "Set a model's constraints"),
    "deploy": Verb("deploy", "Deploy", "Deploy a charm or a bundle"),
    "refresh": Verb("deploy", "Refresh", "Give an application another version of its charm"),
    "attach-resource": Verb("deploy", "AttachResource", "Give an application another file for a resource"),
    "add-unit": Verb("applications", "AddUnit", "Add units to an application"),
    "remove-unit": Verb("applications", "RemoveUnit", "Remove units"),
    "remove-application": Verb("applications", "RemoveApplication", "Remove applications"),
    "integrate": Verb("applications", "Integrate", "Relate two applications"),
    "relate": Verb("applications", "Integrate", "Relate two applications"),
    "remove-relation": Verb("applications", "RemoveRelation", "Take a relation away"),
    "trust": Verb("applications", "Trust", "Set whether an application is trusted"),
    "config": Verb("config", "Config", "Show or set an application's configuration"),
    "run": Verb("run", "Run", "Run an action on units, and wait for it"),
    "show-task": Verb("run", "ShowTask", "Show a task of an action"),
    "actions": Verb("run", "Actions", "List an application's actions"),
    "exec": Verb("shell", "Exec", "Run a command on units or machines"),
    "ssh": Verb("shell", "Ssh", "Open a shell, or run a command, on a unit's machine"),
    "scp": Verb("scp", "Scp", "Copy files to or from a unit's machine"),
    "resolved": Verb("applications", "Resolved", "Mark a unit's failed hook as dealt with"),
    "resolve": Verb("applications", "Resolved", "Mark a unit's failed hook as dealt with"),
    "status": Verb("status", "Status", "Show applications, units, machines and relations"),
    "show-unit": Verb("status", "ShowUnit", "Show a unit with its relation data"),
    "show-application": Verb("status", "ShowApplication", "Show an application"),
    "debug-log": Verb("log", "DebugLog", "Show what the units and the model log"),
    "add-secret": Verb("secrets", "AddSecret", "Add a secret"),
    "update-secret": Verb("secrets", "UpdateSecret", "Give a secret another content"),
    "remove-secret": Verb("secrets", "RemoveSecret", "Remove a secret"),
    "grant-secret": Verb("secrets", "GrantSecret", "Let applications read a secret"),
    "revoke-secret": Verb("secrets", "RevokeSecret", "Take that right away"),
    "show-secret": Verb("secrets", "ShowSecret", "Show a secret"),
    "secrets": Verb("secrets", "Secrets", "List the secrets"),
    "version": Verb("version", "Version", "Print the version of Juju that is followed"),
}

ALIASES: Mapping[str, str] = {"kill": "destroy", "list-models": "models", "list-actions": "actions"}

_NO_CROSS_MODEL = "there are no relations between models here"
_NO_MACHINES = "machines come and go with their units; 'tabletop status' shows them"
_NO_CLOUD = "this one machine is all there is: no clouds, controllers or users"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("offer", "consume", "offers", "find-offers", "show-offer", "remove-offer"), _NO_CROSS_MODEL),
    **dict.fromkeys(
        ("add-cloud", "update-cloud", "remove-cloud", "clouds", "add-credential", "credentials"), _NO_CLOUD
    ),
    **dict.fromkeys(("controllers", "register", "login", "logout", "add-user", "grant", "kill-controller"), _NO_CLOUD),
    **dict.fromkeys(("destroy-controller", "show-controller", "upgrade-controller", "migrate"), _NO_CLOUD),
    **dict.fromkeys(("add-machine", "remove-machine", "machines", "show-machine"), _NO_MACHINES),
    "wait-for": "jubilant's wait, or 'tabletop status --watch', does that",
    **dict.fromkeys(("find", "info", "download"), "charms come from files; there is no Charmhub here"),
    **dict.fromkeys(("add-ssh-key", "remove-ssh-key"), "'tabletop ssh' enters machines directly, without keys"),
    **dict.fromkeys(("expose", "unexpose"), "ports are open to this machine and closed to others, always"),
}
"""Juju's verbs that are refused, and why."""
