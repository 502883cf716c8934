ALTER TABLE crypto_addresses
DROP COLUMN searched_number,
DROP COLUMN made_number;
