-- revision grows with each accepted change that somebody asked for, and with its end; If-Match compares it.
ALTER TABLE deployments ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN changed_by TEXT NOT NULL DEFAULT '';
-- 1: nothing is to run until it is started again
ALTER TABLE deployments ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;
-- why it is never pruned; NULL: it may be
ALTER TABLE releases ADD COLUMN pinned TEXT;
-- why what stood against the rollout was passed over; NULL: nothing was
ALTER TABLE rollouts ADD COLUMN override TEXT;

UPDATE deployments SET revision = (SELECT count(*) FROM rollouts WHERE rollouts.deployment = deployments.name);
