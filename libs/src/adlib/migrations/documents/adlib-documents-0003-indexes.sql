-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY documents_newest ON documents (collection, version DESC);
CREATE INDEX CONCURRENTLY documents_expired ON documents (expires_at) WHERE expires_at IS NOT NULL;
