DROP INDEX outgoing_mails_made;
DROP INDEX invitations_expired;
