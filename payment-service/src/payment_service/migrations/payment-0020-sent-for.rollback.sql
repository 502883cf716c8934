ALTER TABLE deposits
DROP CONSTRAINT deposits_sent_for,
DROP COLUMN sent_for_organization_id,
DROP COLUMN sent_for_payment_id;
