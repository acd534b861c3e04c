-- What was asked for and waits, for its turn or for somebody's approval. It is no rollout yet: the one it becomes takes
-- its id. Rows of what was cancelled stay for a while, to be looked at; the row of what began goes with its beginning.
CREATE TABLE waiting (
  id            TEXT PRIMARY KEY,
  place         INTEGER NOT NULL,     -- first come, first served
  deployment    TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE,
  kind          TEXT NOT NULL,
  asked         TEXT NOT NULL,        -- fields of the request; read again when it begins
  spec          TEXT NOT NULL,        -- what it came to when it was asked for
  strategy      TEXT NOT NULL,
  requested_by  TEXT NOT NULL,
  since         REAL NOT NULL,
  expires_at    REAL NOT NULL,
  waiting_for   TEXT NOT NULL CHECK (waiting_for IN ('turn', 'approval')),
  supersedes    INTEGER NOT NULL,     -- 1: it ends what was asked for before it
  approved_by   TEXT,
  override      TEXT,
  ended_at      REAL,                 -- when it was cancelled; NULL: it waits
  message       TEXT NOT NULL
);
CREATE INDEX waiting_by_deployment ON waiting (deployment, place);

ALTER TABLE rollouts ADD COLUMN approved_by TEXT;
