CREATE TABLE tokens (
  name          TEXT PRIMARY KEY,     -- shown as requested_by; a name that was used is never given again
  sha256        TEXT NOT NULL UNIQUE, -- of the token, which nobody keeps
  role          TEXT NOT NULL CHECK (role IN ('read', 'deploy', 'admin')),
  environments  TEXT,                 -- JSON list of those it may change; NULL: all
  created_by    TEXT NOT NULL,
  created_at    REAL NOT NULL,
  expires_at    REAL,
  last_used_at  REAL,
  revoked_at    REAL
);

CREATE TABLE locks (
  scope       TEXT NOT NULL CHECK (scope IN ('deployment', 'environment')),
  name        TEXT NOT NULL,
  holder      TEXT NOT NULL,
  message     TEXT NOT NULL,
  since       REAL NOT NULL,
  expires_at  REAL,
  PRIMARY KEY (scope, name)
);
