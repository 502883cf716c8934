ALTER TABLE transfers DROP CONSTRAINT transfers_id;
