-- Times are seconds since the epoch (UTC); JSON columns hold what store/codec.py writes.

CREATE TABLE manager (
  only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
  id        TEXT NOT NULL,            -- of this data directory, for ever; marks the processes it starts
  epoch     INTEGER NOT NULL,         -- grows with each manager that takes over; every write checks it
  owner     TEXT NOT NULL
);

CREATE TABLE deployments (
  name               TEXT PRIMARY KEY,
  environment        TEXT NOT NULL,
  working_directory  TEXT NOT NULL UNIQUE,
  public_port        INTEGER UNIQUE,
  current_version    TEXT,
  previous_version   TEXT,
  routing            TEXT,
  instances          TEXT NOT NULL,
  deleting           TEXT CHECK (deleting IN ('all', 'keep_files')),
  created_at         REAL NOT NULL,
  updated_at         REAL NOT NULL
);

CREATE TABLE releases (
  deployment  TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  version     TEXT NOT NULL,
  sha256      TEXT NOT NULL,
  spec        TEXT NOT NULL,
  command     TEXT,
  path        TEXT NOT NULL,
  size_bytes  INTEGER NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('fetching', 'kept', 'pruned')),
  created_at  REAL NOT NULL,
  healthy_at  REAL,
  PRIMARY KEY (deployment, version)
);

CREATE TABLE instances (
  id          TEXT PRIMARY KEY,
  deployment  TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  version     TEXT NOT NULL,
  slot        INTEGER NOT NULL,
  port        INTEGER UNIQUE,         -- the lease on the port
  state       TEXT NOT NULL CHECK (state IN ('starting', 'running', 'stopped')),
  handle      TEXT,
  launch_id   TEXT NOT NULL,
  started_at  REAL,
  restarts    INTEGER NOT NULL,
  retire_at   REAL
);
CREATE INDEX instances_by_deployment ON instances (deployment);

CREATE TABLE rollouts (
  id                TEXT PRIMARY KEY,
  deployment        TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  number            INTEGER NOT NULL,
  kind              TEXT NOT NULL,
  version           TEXT NOT NULL,
  previous_version  TEXT,
  strategy          TEXT NOT NULL,
  status            TEXT NOT NULL CHECK (status IN
                      ('running', 'paused', 'unwinding', 'committed', 'succeeded', 'unwound', 'held', 'stuck')),
  spec              TEXT NOT NULL,
  plan              TEXT,
  requested_by      TEXT NOT NULL,
  started_at        REAL NOT NULL,
  ended_at          REAL,
  message           TEXT NOT NULL,
  failure           TEXT,
  abort_requested   TEXT,
  epoch             INTEGER NOT NULL, -- of the manager that runs it
  UNIQUE (deployment, number)
);
-- The lock: a second rollout of the same deployment cannot be opened, whoever tries.
CREATE UNIQUE INDEX one_open_rollout ON rollouts (deployment)
  WHERE status IN ('running', 'paused', 'unwinding', 'committed');

CREATE TABLE journal (
  rollout_id  TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  undo        INTEGER NOT NULL,
  name        TEXT NOT NULL,
  status      TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
  started_at  REAL NOT NULL,
  ended_at    REAL,
  message     TEXT NOT NULL,
  error       TEXT NOT NULL,
  PRIMARY KEY (rollout_id, undo, position)
);

CREATE TABLE progress (
  rollout_id    TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
  seq           INTEGER NOT NULL,
  deployment    TEXT NOT NULL,
  step          TEXT NOT NULL,
  status        TEXT NOT NULL,
  message       TEXT NOT NULL,
  progress_pct  INTEGER NOT NULL,
  timestamp     REAL NOT NULL,
  last          INTEGER NOT NULL,
  PRIMARY KEY (rollout_id, seq)
);

CREATE TABLE events (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  deployment  TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  timestamp   REAL NOT NULL,
  type        TEXT NOT NULL CHECK (type IN ('info', 'warning', 'error')),
  message     TEXT NOT NULL,
  source      TEXT NOT NULL,
  rollout_id  TEXT
);
CREATE INDEX events_by_deployment ON events (deployment, id);

CREATE TABLE idempotency (
  caller       TEXT NOT NULL,
  key          TEXT NOT NULL,
  fingerprint  TEXT NOT NULL,
  rollout_id   TEXT,
  created_at   REAL NOT NULL,
  PRIMARY KEY (caller, key)
);
