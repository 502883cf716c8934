DROP INDEX payouts_followed;
DROP INDEX refunds_followed;
