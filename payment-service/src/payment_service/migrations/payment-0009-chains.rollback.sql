DROP TABLE crypto_refunds;
DROP TABLE crypto_transfers;
DROP TABLE crypto_blocks;
DROP TABLE crypto_chains;
DROP TABLE crypto_addresses;
DROP SEQUENCE crypto_address_number;
