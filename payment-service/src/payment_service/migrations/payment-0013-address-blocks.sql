-- runs-with: 1
ALTER TABLE crypto_addresses
-- How far the chain was read when the address was made; NULL where that is not known.
ADD COLUMN made_number bigint,
-- How far a search that did not end has come; NULL where none is under way.
ADD COLUMN searched_number bigint;
