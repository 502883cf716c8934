DROP INDEX transfers_ended;
