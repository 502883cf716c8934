-- runs-with: 1
ALTER TABLE webhook_events
-- When what it says was booked; NULL while that has failed.
ADD COLUMN booked_at timestamptz,
-- When that was last tried again.
ADD COLUMN tried_at timestamptz;

UPDATE webhook_events SET booked_at = received_at;

-- Until when each provider was asked for what webhooks may have missed.
CREATE TABLE webhook_cursors (
    provider text PRIMARY KEY,
    read_until timestamptz NOT NULL
);
