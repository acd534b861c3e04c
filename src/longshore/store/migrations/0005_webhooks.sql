-- The outbox: what receivers are to be told, written in the transaction that makes it so. No foreign key: the end of a
-- deployment that was deleted is told all the same.
CREATE TABLE deliveries (
  place         INTEGER PRIMARY KEY,  -- the order in which they were written
  id            TEXT NOT NULL UNIQUE, -- the receiver sees it, and can tell a repetition by it
  webhook       TEXT NOT NULL,
  event         TEXT NOT NULL,
  deployment    TEXT NOT NULL,
  body          TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
  created_at    REAL NOT NULL,
  next_at       REAL NOT NULL,        -- not before
  attempts      INTEGER NOT NULL DEFAULT 0,
  ended_at      REAL,
  answer        TEXT NOT NULL DEFAULT ''
);
CREATE INDEX deliveries_due ON deliveries (webhook, next_at) WHERE state = 'pending';
CREATE INDEX deliveries_before ON deliveries (webhook, deployment, place) WHERE state = 'pending';
CREATE INDEX deliveries_by_state ON deliveries (webhook, state, place);
