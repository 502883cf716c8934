DROP TABLE failing_items;
