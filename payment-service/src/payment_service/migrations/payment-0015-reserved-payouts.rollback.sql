DROP INDEX payouts_reserved;
