DROP INDEX accounts_of_escrows;
