DROP TABLE outgoing_mails;
DROP TABLE links;
DROP TABLE refresh_tokens;
ALTER TABLE sessions DROP COLUMN refreshed_at, DROP COLUMN address, DROP COLUMN user_agent;
ALTER TABLE users DROP COLUMN email_verified_at, DROP COLUMN firebase_uid;
