-- runs-with: 1
ALTER TABLE deposits
-- The payment that an unmatched deposit was sent for, in another currency than the payment's; NULL where that is unknown.
ADD COLUMN sent_for_payment_id uuid,
ADD COLUMN sent_for_organization_id uuid,
ADD CONSTRAINT deposits_sent_for CHECK (
    (sent_for_payment_id IS NULL) = (sent_for_organization_id IS NULL)
) NOT VALID;
