-- runs-with: 1
-- A statement is in the order of ids and asks for times by them: an id that says no time would be at a wrong place in it.
ALTER TABLE transfers
ADD CONSTRAINT transfers_id CHECK (uuid_extract_version(id) IS NOT DISTINCT FROM 7) NOT VALID;
