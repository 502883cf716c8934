DROP TABLE audit_heads;
DROP TABLE audit_logs;
DROP FUNCTION refuse_audit_change;
