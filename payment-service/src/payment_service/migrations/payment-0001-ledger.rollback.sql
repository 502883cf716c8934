DROP TABLE spends;
DROP TABLE transfers;
DROP TABLE accounts;
DROP FUNCTION post_transfers();
DROP FUNCTION guard_account();
DROP FUNCTION refuse_change();
