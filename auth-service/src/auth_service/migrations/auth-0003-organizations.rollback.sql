DROP TABLE api_keys;
DROP TABLE invitations;
DELETE FROM user_roles WHERE role_code IN (SELECT code FROM roles WHERE organization_id IS NOT NULL);
DELETE FROM roles WHERE organization_id IS NOT NULL;
ALTER TABLE roles DROP COLUMN organization_id, DROP COLUMN created_at;
