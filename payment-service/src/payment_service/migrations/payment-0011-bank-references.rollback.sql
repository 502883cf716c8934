DROP TABLE bank_refunds;
DROP TABLE bank_references;
