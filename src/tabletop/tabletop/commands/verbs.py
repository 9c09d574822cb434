"""The words that the command line knows: its own, and those of the `juju` client."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's command is, and what to say of it in a list."""

    module: str
    command: str
    summary: str


OWN: Mapping[str, Verb] = {
    "bootstrap": Verb("host", "Bootstrap", "Prepare this machine: packages, base image, daemon"),
    "destroy": Verb("host", "Destroy", "Remove everything tabletop made: models, machines, network, rules"),
    "daemon": Verb("host", "Daemon", "Start or stop the daemon, or say how it is"),
    "pack": Verb("pack", "Pack", "Pack a charm's folder into a .charm"),
    "images": Verb("images", "Images", "List the base images in the cache, or remove the unused ones"),
    "lint": Verb("lint", "Lint", "Check bundles and charms, without a daemon"),
    "addresses": Verb("status", "Addresses", "List the units with their addresses and open ports"),
    "kill-machine": Verb("outages", "KillMachine", "Pull a machine's plug, to see what comes of it"),
    "start-machine": Verb("outages", "StartMachine", "Start a machine that was killed and is off"),
    "cut-network": Verb("outages", "CutNetwork", "Cut a machine off from others, or from everything"),
    "heal-network": Verb("outages", "HealNetwork", "Undo that"),
}
"""tabletop's own words."""

JUJU: Mapping[str, Verb] = {
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
    "add-machine": Verb("machines", "AddMachine", "Add machines without units"),
    "remove-machine": Verb("machines", "RemoveMachine", "Remove machines"),
    "machines": Verb("machines", "ListMachines", "List the machines"),
    "show-machine": Verb("machines", "ShowMachine", "Show machines"),
    "storage": Verb("storage", "ListStorage", "List the storage"),
    "show-storage": Verb("storage", "ShowStorage", "Show pieces of storage"),
    "add-storage": Verb("storage", "AddStorage", "Give a unit more storage"),
    "attach-storage": Verb("storage", "AttachStorage", "Attach storage that is detached to a unit"),
    "detach-storage": Verb("storage", "DetachStorage", "Detach storage from its unit, and keep it"),
    "remove-storage": Verb("storage", "RemoveStorage", "Remove storage with what is on it"),
    "run": Verb("run", "Run", "Run an action on units, and wait for it"),
    "actions": Verb("actions", "Actions", "List an application's actions"),
    "show-action": Verb("actions", "ShowAction", "Show an action with its parameters"),
    "operations": Verb("operations", "Operations", "List the operations: what was run, and how it went"),
    "show-operation": Verb("operations", "ShowOperation", "Show an operation with its tasks"),
    "show-task": Verb("operations", "ShowTask", "Show a task: an action or a command on one unit"),
    "cancel-task": Verb("operations", "CancelTask", "Cancel tasks that wait or run"),
    "exec": Verb("execute", "Exec", "Run a command on units or machines"),
    "ssh": Verb("shell", "Ssh", "Open a shell, or run a command, on a unit's machine"),
    "scp": Verb("scp", "Scp", "Copy files to or from a unit's machine"),
    "resolved": Verb("applications", "Resolved", "Mark a unit's failed hook as dealt with"),
    "resolve": Verb("applications", "Resolved", "Mark a unit's failed hook as dealt with"),
    "status": Verb("status", "Status", "Show applications, units, machines and relations"),
    "show-unit": Verb("status", "ShowUnit", "Show a unit with its relation data"),
    "show-application": Verb("status", "ShowApplication", "Show an application"),
    "wait-for": Verb("waitfor", "WaitFor", "Wait until an application, a unit, a machine or a model is as asked"),
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
"""Juju's words."""

VERBS: Mapping[str, Verb] = {**OWN, **JUJU}

ALIASES: Mapping[str, str] = {
    "kill": "destroy",
    "list-models": "models",
    "list-actions": "actions",
    "list-machines": "machines",
    "list-operations": "operations",
    "list-secrets": "secrets",
    "list-storage": "storage",
    "show-status": "status",
}
"""Other names, of Juju's, for some."""
