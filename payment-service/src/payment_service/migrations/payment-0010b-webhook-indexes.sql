-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY webhook_events_unbooked ON webhook_events (tried_at) WHERE booked_at IS NULL;
CREATE INDEX CONCURRENTLY webhook_events_booked ON webhook_events (received_at) WHERE booked_at IS NOT NULL;
