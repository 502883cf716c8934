DROP INDEX user_roles_of_role;
DROP INDEX user_roles_of_organization;
DROP INDEX roles_name_key;
DROP INDEX users_firebase_uid_key;
