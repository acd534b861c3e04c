-- What a canary was judged by, as JSON (model/verdict.py), beside the words: of a step, of what watchers were told, and in
-- the history. NULL: nothing was judged.
ALTER TABLE journal ADD COLUMN verdict TEXT;
ALTER TABLE progress ADD COLUMN verdict TEXT;
ALTER TABLE events ADD COLUMN verdict TEXT;
