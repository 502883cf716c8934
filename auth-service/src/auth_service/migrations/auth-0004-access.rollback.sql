DROP TABLE pending_marks;
