-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY deposits_sent_for ON deposits (sent_for_payment_id, id) WHERE sent_for_payment_id IS NOT NULL;
