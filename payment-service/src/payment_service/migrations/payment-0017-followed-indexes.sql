-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY refunds_followed ON refunds (ask_at) WHERE followed_until IS NOT NULL;
CREATE INDEX CONCURRENTLY payouts_followed ON payouts (updated_at) WHERE state IN ('PAID', 'FAILED');
ALTER TABLE refunds VALIDATE CONSTRAINT refunds_returned;
ALTER TABLE payouts VALIDATE CONSTRAINT payouts_returned;
ALTER TABLE deposits VALIDATE CONSTRAINT deposits_recalled;
