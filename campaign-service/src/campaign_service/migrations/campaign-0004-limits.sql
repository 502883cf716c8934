-- runs-with: 1
ALTER TABLE campaigns
-- The networks were limited and then read: what is on its way back to the wallet is decided.
ADD COLUMN is_limited boolean NOT NULL DEFAULT false,
-- Its organization owes money: it is to be stopped and its hold given back.
ADD COLUMN is_suspending boolean NOT NULL DEFAULT false;
