-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY transfers_of_debit ON transfers (debit_account_id, id);
CREATE INDEX CONCURRENTLY transfers_of_credit ON transfers (credit_account_id, id);
ALTER TABLE transfers VALIDATE CONSTRAINT transfers_id;
