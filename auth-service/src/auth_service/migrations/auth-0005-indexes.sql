-- transactional: false
-- runs-with: 1
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
-- The first line keeps yoyo from opening a transaction, which squawk does not know.
CREATE UNIQUE INDEX CONCURRENTLY users_firebase_uid_key ON users (firebase_uid);
CREATE UNIQUE INDEX CONCURRENTLY roles_name_key ON roles (organization_id, lower(name)) WHERE organization_id IS NOT NULL;
CREATE INDEX CONCURRENTLY user_roles_of_organization ON user_roles (organization_id, user_id);
CREATE INDEX CONCURRENTLY user_roles_of_role ON user_roles (role_code);
ALTER TABLE roles VALIDATE CONSTRAINT roles_organization_id_fkey;
