-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
-- For the list of holds; no transfer changes what is in it.
CREATE INDEX CONCURRENTLY accounts_of_escrows ON accounts (id) WHERE kind = 'ESCROW';
