DROP INDEX links_expired;
DROP INDEX sessions_refreshed;
DROP INDEX sessions_ended;
