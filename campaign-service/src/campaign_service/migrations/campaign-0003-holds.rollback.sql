ALTER TABLE campaigns DROP COLUMN moves_back;
ALTER TABLE campaigns DROP COLUMN wanted_budget_micros;
ALTER TABLE campaigns DROP COLUMN moving_micros;
ALTER TABLE campaigns DROP COLUMN move_key;
