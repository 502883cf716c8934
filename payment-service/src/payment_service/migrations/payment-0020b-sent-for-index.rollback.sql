DROP INDEX deposits_sent_for;
