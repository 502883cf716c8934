-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY idempotency_keys_created_at ON idempotency_keys (created_at);
