-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE UNIQUE INDEX CONCURRENTLY transfers_ended ON transfers (pending_id) WHERE pending_id IS NOT NULL;
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_kind;
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_floor;
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_ceiling;
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_pending;
ALTER TABLE transfers VALIDATE CONSTRAINT transfers_kind;
ALTER TABLE transfers VALIDATE CONSTRAINT transfers_phase;
