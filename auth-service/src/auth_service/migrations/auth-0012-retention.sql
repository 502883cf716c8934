-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE INDEX CONCURRENTLY invitations_expired ON invitations (expires_at) WHERE accepted_at IS NULL;
CREATE INDEX CONCURRENTLY outgoing_mails_made ON outgoing_mails (created_at);
