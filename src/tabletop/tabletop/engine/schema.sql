-- One model. JSON columns hold what is only read and written as a whole.
CREATE TABLE model (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    uuid TEXT NOT NULL,
    created REAL NOT NULL,
    life TEXT NOT NULL DEFAULT 'alive',
    config TEXT NOT NULL DEFAULT '{}',
    constraints TEXT NOT NULL DEFAULT '{}', -- of machines whose application says nothing else
    next_machine INTEGER NOT NULL DEFAULT 0,
    next_relation INTEGER NOT NULL DEFAULT 0,
    next_task INTEGER NOT NULL DEFAULT 1,
    next_storage INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE application (
    name TEXT PRIMARY KEY,
    charm TEXT NOT NULL,                    -- SHA-256 of the packed charm
    charm_name TEXT NOT NULL,
    charm_rev INTEGER NOT NULL DEFAULT 0,
    charm_version INTEGER NOT NULL DEFAULT 0, -- counts refreshes and new resources
    config TEXT NOT NULL DEFAULT '{}',      -- options that were set; the rest have their defaults
    trust INTEGER NOT NULL DEFAULT 0,
    constraints TEXT NOT NULL DEFAULT '{}',
    life TEXT NOT NULL DEFAULT 'alive',
    next_unit INTEGER NOT NULL DEFAULT 0,   -- of models made by the first builds; unit_sequence took its place
    status TEXT,                            -- NULL until the charm sets it
    message TEXT NOT NULL DEFAULT '',
    since REAL NOT NULL,
    workload_version TEXT NOT NULL DEFAULT '',
    storage TEXT NOT NULL DEFAULT '{}'      -- what each unit gets: name to [size in MiB, count]
) STRICT;

-- Numbers of units are not used again, even if the application is removed and deployed anew.
CREATE TABLE unit_sequence (
    application TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;

CREATE TABLE resource (
    application TEXT NOT NULL REFERENCES application (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    filename TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (application, name)
) STRICT;

CREATE TABLE machine (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,                     -- of the container
    life TEXT NOT NULL DEFAULT 'alive',
    state TEXT NOT NULL DEFAULT 'pending',  -- pending, started, rebooting, down, off, error
    message TEXT NOT NULL DEFAULT '',
    since REAL NOT NULL,
    address TEXT NOT NULL DEFAULT '',
    boots INTEGER NOT NULL DEFAULT 0,
    constraints TEXT NOT NULL DEFAULT '{}',
    incarnation TEXT NOT NULL DEFAULT '',   -- of its processes: another one after each boot
    off_until REAL                          -- when a machine that is off is started; NULL: when it is asked for
) STRICT;

CREATE TABLE unit (
    name TEXT PRIMARY KEY,
    application TEXT NOT NULL REFERENCES application (name),
    number INTEGER NOT NULL,
    machine INTEGER NOT NULL REFERENCES machine (number),
    life TEXT NOT NULL DEFAULT 'alive',
    status TEXT NOT NULL DEFAULT 'waiting',
    message TEXT NOT NULL DEFAULT 'waiting for machine',
    since REAL NOT NULL,
    agent_since REAL NOT NULL,
    local TEXT NOT NULL DEFAULT '{}',       -- lifecycle.Local
    op TEXT,                                -- operation.Operation: the hook that runs or has failed
    charm TEXT NOT NULL DEFAULT '',         -- SHA-256 of the charm laid out for the unit
    state TEXT NOT NULL DEFAULT '{}',       -- of state-set
    update_status REAL NOT NULL DEFAULT 0,  -- when the last one ran
    principal TEXT                          -- the unit that a subordinate accompanies
) STRICT;

CREATE TABLE opened_port (
    unit TEXT NOT NULL REFERENCES unit (name) ON DELETE CASCADE,
    endpoint TEXT NOT NULL,                 -- '' for all
    protocol TEXT NOT NULL,
    from_port INTEGER NOT NULL,
    to_port INTEGER NOT NULL,
    PRIMARY KEY (unit, endpoint, protocol, from_port, to_port)
) STRICT;

CREATE TABLE storage (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT REFERENCES unit (name),       -- NULL while it is detached
    location TEXT NOT NULL,                 -- where the unit's machine has it
    since REAL NOT NULL,
    size INTEGER NOT NULL DEFAULT 1024,     -- MiB
    life TEXT NOT NULL DEFAULT 'alive',     -- detaching: from its unit; dying: goes once it is detached
    read_only INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE relation (
    id INTEGER PRIMARY KEY,
    interface TEXT NOT NULL,
    scope TEXT NOT NULL DEFAULT 'global',
    life TEXT NOT NULL DEFAULT 'alive',
    since REAL NOT NULL
) STRICT;

CREATE TABLE endpoint (
    relation INTEGER NOT NULL REFERENCES relation (id) ON DELETE CASCADE,
    application TEXT NOT NULL REFERENCES application (name),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (relation, application, name)
) STRICT;

-- Units that have entered a relation. A departing one is no longer a member to the others.
CREATE TABLE scope (
    relation INTEGER NOT NULL REFERENCES relation (id) ON DELETE CASCADE,
    unit TEXT NOT NULL REFERENCES unit (name) ON DELETE CASCADE,
    departing INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (relation, unit)
) STRICT;

CREATE TABLE databag (
    relation INTEGER NOT NULL REFERENCES relation (id) ON DELETE CASCADE,
    entity TEXT NOT NULL,                   -- a unit or an application
    version INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (relation, entity)
) STRICT;

CREATE TABLE secret (
    id TEXT PRIMARY KEY,
    owner_kind TEXT NOT NULL,               -- application, unit, model
    owner TEXT NOT NULL,
    label TEXT NOT NULL DEFAULT '',         -- the owner's; a user secret's name
    description TEXT NOT NULL DEFAULT '',
    rotate TEXT NOT NULL DEFAULT 'never',
    next_rotate REAL,
    created REAL NOT NULL,
    updated REAL NOT NULL
) STRICT;

CREATE TABLE secret_revision (
    secret TEXT NOT NULL REFERENCES secret (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    content TEXT NOT NULL,
    created REAL NOT NULL,
    expire REAL,
    expired_told INTEGER NOT NULL DEFAULT 0, -- when its owner was last told, in seconds since the epoch
    obsolete_told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (secret, revision)
) STRICT;

CREATE TABLE secret_consumer (
    secret TEXT NOT NULL REFERENCES secret (id) ON DELETE CASCADE,
    unit TEXT NOT NULL REFERENCES unit (name) ON DELETE CASCADE,
    label TEXT NOT NULL DEFAULT '',
    revision INTEGER NOT NULL,              -- that it follows
    told INTEGER NOT NULL,                  -- latest one it got secret-changed for
    PRIMARY KEY (secret, unit)
) STRICT;

CREATE TABLE secret_grant (
    secret TEXT NOT NULL REFERENCES secret (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,                  -- an application or a unit
    relation INTEGER REFERENCES relation (id) ON DELETE CASCADE, -- NULL: granted by the operator
    PRIMARY KEY (secret, subject)
) STRICT;

-- What leader-set keeps; the version grows with each change.
CREATE TABLE leader_settings (
    application TEXT PRIMARY KEY REFERENCES application (name) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;

CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    operation INTEGER NOT NULL,             -- the id of the first task of the command that queued it
    kind TEXT NOT NULL,                     -- action, exec
    unit TEXT NOT NULL,
    name TEXT NOT NULL,
    params TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending', -- pending, running, aborting; completed, failed, aborted, cancelled
    message TEXT NOT NULL DEFAULT '',
    results TEXT NOT NULL DEFAULT '{}',
    context TEXT NOT NULL DEFAULT '',
    pid INTEGER,
    enqueued REAL NOT NULL,
    started REAL,
    completed REAL
) STRICT;

CREATE TABLE task_log (
    task INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    time REAL NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (task, number)
) STRICT;
