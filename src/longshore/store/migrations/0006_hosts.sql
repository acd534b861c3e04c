-- Instances on other machines ('' is the manager's own), and units of the user's own: their port is not one that was
-- given to the instance, and the old one has it as well as the new.
CREATE TABLE instances_new (
  id          TEXT PRIMARY KEY,
  deployment  TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  version     TEXT NOT NULL,
  slot        INTEGER NOT NULL,
  port        INTEGER,
  state       TEXT NOT NULL CHECK (state IN ('starting', 'running', 'stopped')),
  handle      TEXT,
  launch_id   TEXT NOT NULL,
  started_at  REAL,
  restarts    INTEGER NOT NULL,
  retire_at   REAL,
  host        TEXT NOT NULL DEFAULT '',
  leased      INTEGER NOT NULL DEFAULT 1
);
INSERT INTO instances_new (rowid, id, deployment, version, slot, port, state, handle, launch_id, started_at, restarts, retire_at)
  SELECT rowid, id, deployment, version, slot, port, state, handle, launch_id, started_at, restarts, retire_at FROM instances;
DROP TABLE instances;
ALTER TABLE instances_new RENAME TO instances;
CREATE INDEX instances_by_deployment ON instances (deployment);
CREATE UNIQUE INDEX instances_ports ON instances (port) WHERE leased;  -- the lease on the port
