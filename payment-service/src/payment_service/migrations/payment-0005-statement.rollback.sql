DROP INDEX transfers_of_credit;
DROP INDEX transfers_of_debit;
