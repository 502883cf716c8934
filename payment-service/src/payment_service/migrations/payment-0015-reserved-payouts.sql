-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
-- What of a publisher's earnings waits to be sent.
CREATE INDEX CONCURRENTLY payouts_reserved ON payouts (publisher_id) WHERE state = 'RESERVED';
