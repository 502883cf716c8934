DROP TABLE webhook_cursors;
ALTER TABLE webhook_events
DROP COLUMN tried_at,
DROP COLUMN booked_at;
