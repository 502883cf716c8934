DROP INDEX webhook_events_booked;
DROP INDEX webhook_events_unbooked;
