"""The tool that gives a charm its resources."""

import os
import shutil

from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call


def resource_get(call: Call) -> str:
    """Return where the machine has a resource: a link to the model's one copy, read-only."""
    context = call.context
    model = context.model
    name = call.required(0, "missing required resource name")
    row = model.store.one("SELECT * FROM resource WHERE application = ? AND name = ?", context.application, name)
    if row is None:
        raise ToolError(f"could not download resource: resource#{context.application}/{name} not found")
    tag = "unit-" + context.unit.replace("/", "-")
    relative = f"agents/{tag}/resources/{name}/{row['filename'] or name}"
    target = model.machine_directory(context.machine) / relative
    source = model.resource_path(row["sha256"])
    if not (target.exists() and target.samefile(source)):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")
        draft.unlink(missing_ok=True)
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
        draft.replace(target)
    return f"{model.inside(context.machine)}/{relative}"
