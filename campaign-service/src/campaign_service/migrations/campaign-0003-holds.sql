-- runs-with: 1
-- Money on its way between wallet and hold, by a key that is stored before it is asked for; null where there is none.
ALTER TABLE campaigns ADD COLUMN move_key text;
-- What the hold grows by, below zero what is given back of it.
ALTER TABLE campaigns ADD COLUMN moving_micros bigint NOT NULL DEFAULT 0;
-- The budget when that is done; null where the hold alone is put right.
ALTER TABLE campaigns ADD COLUMN wanted_budget_micros bigint;
-- A network refused the wanted budget: what was moved goes back.
ALTER TABLE campaigns ADD COLUMN moves_back boolean NOT NULL DEFAULT false;
