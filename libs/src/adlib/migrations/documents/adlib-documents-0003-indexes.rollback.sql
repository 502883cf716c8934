DROP INDEX documents_expired;
DROP INDEX documents_newest;
