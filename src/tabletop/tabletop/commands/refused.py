"""Juju's verbs that tabletop hasn't got, and why: each is refused with that sentence."""

from collections.abc import Mapping

from tabletop.reasons import NO_EXPOSING, NO_SPACES, NO_STORE

_NO_CROSS_MODEL = "there are no relations between models here; deploy both sides into one model"
_NO_CLOUD = "this machine is the only cloud, without credentials, regions or spaces"
_NO_CONTROLLER = "there is no controller here; 'tabletop bootstrap', 'destroy' and 'daemon' are what comes near to that"
_NO_USERS = "root is the only user here"
_NO_KEYS = "'tabletop ssh' and 'scp' enter machines directly, without keys"
_NO_BACKEND = "secrets are kept with the model; there is no other backend"
_NO_POOL = "storage is on this machine's own disk; there are no pools"
_NO_BLOCKS = "commands can't be disabled here"
_NO_DEBUG = "use 'tabletop debug-log', and 'tabletop exec' for a hook's context"
_NO_KUBERNETES = "it is for Kubernetes models; machines are what is here"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("offer", "consume", "offers", "find-offers", "show-offer", "remove-offer", "remove-saas"),
            *("suspend-relation", "resume-relation", "firewall-rules", "set-firewall-rule"),
        ),
        _NO_CROSS_MODEL,
    ),
    **dict.fromkeys(
        (
            *("add-cloud", "update-cloud", "remove-cloud", "clouds", "show-cloud", "update-public-clouds"),
            *("regions", "default-region", "grant-cloud", "revoke-cloud"),
            *("add-credential", "update-credential", "remove-credential", "credentials", "show-credential"),
            *("set-credential", "default-credential", "autoload-credentials"),
        ),
        _NO_CLOUD,
    ),
    **dict.fromkeys(
        (
            *("controllers", "show-controller", "controller-config", "destroy-controller", "kill-controller"),
            *("enable-destroy-controller", "register", "unregister", "enable-ha", "migrate", "dashboard"),
            *("upgrade-controller", "upgrade-model", "sync-agent-binary", "create-backup", "download-backup"),
            *("model-defaults",),
        ),
        _NO_CONTROLLER,
    ),
    **dict.fromkeys(
        (
            *("login", "logout", "whoami", "users", "add-user", "remove-user", "show-user", "enable-user"),
            *("disable-user", "change-user-password", "grant", "revoke"),
        ),
        _NO_USERS,
    ),
    **dict.fromkeys(("find", "info", "download", "charm-resources"), NO_STORE),
    **dict.fromkeys(("add-ssh-key", "remove-ssh-key", "import-ssh-key", "ssh-keys"), _NO_KEYS),
    **dict.fromkeys(("expose", "unexpose"), NO_EXPOSING),
    **dict.fromkeys(
        (
            *("add-secret-backend", "update-secret-backend", "remove-secret-backend", "show-secret-backend"),
            *("secret-backends", "model-secret-backend"),
        ),
        _NO_BACKEND,
    ),
    **dict.fromkeys(
        (
            *("spaces", "add-space", "remove-space", "rename-space", "show-space", "move-to-space", "reload-spaces"),
            *("subnets", "bind"),
        ),
        NO_SPACES,
    ),
    **dict.fromkeys(
        ("create-storage-pool", "update-storage-pool", "remove-storage-pool", "storage-pools", "import-filesystem"),
        _NO_POOL,
    ),
    **dict.fromkeys(("disable-command", "enable-command", "disabled-commands"), _NO_BLOCKS),
    **dict.fromkeys(("debug-hooks", "debug-hook", "debug-code"), _NO_DEBUG),
    **dict.fromkeys(("add-k8s", "update-k8s", "remove-k8s", "scale-application"), _NO_KUBERNETES),
    "resources": "'tabletop exec --unit UNIT -- resource-get NAME' says where a unit has one",
    "export-bundle": "'tabletop status --format yaml' shows what a bundle would say",
    "diff-bundle": "'tabletop deploy BUNDLE' names options that differ, and adds only what is missing",
    "show-status-log": "'tabletop debug-log' has the history of a unit",
    "retry-provisioning": "a machine that can't be made is tried again without being asked",
    "documentation": "its README says what tabletop does; 'tabletop help VERB' tells what a verb takes",
}
