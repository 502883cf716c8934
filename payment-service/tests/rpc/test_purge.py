"""PurgeExpired deletes rows past their retention, and nothing else."""

from uuid import uuid4

import grpc
import psycopg
from adplatform.payment.v1 import payment_pb2, payment_pb2_grpc


def test_booked_events_are_purged_after_90_days(
    channel: grpc.Channel, gateway, identities, sql: psycopg.Connection
) -> None:
    kept, unbooked, old = (f"evt_{uuid4().hex}" for _ in range(3))
    for event_id, days, booked in ((kept, 89, True), (unbooked, 91, False), (old, 91, True)):
        sql.execute(
            "INSERT INTO webhook_events (provider, event_id, kind, payload, received_at, booked_at) "
            "VALUES ('GONE', %s, 'x', '', now() - make_interval(days => %s), CASE WHEN %s THEN now() END)",
            [event_id, days, booked],
        )
    jobs = payment_pb2_grpc.PaymentJobsServiceStub(channel)
    result = jobs.PurgeExpired(payment_pb2.PurgeExpiredRequest(), metadata=identities.service_headers("scheduler"))
    assert (result.success, result.stats.total) == (True, 2)
    left = sql.execute("SELECT event_id FROM webhook_events WHERE provider = 'GONE'").fetchall()
    assert {event_id for (event_id,) in left} == {kept, unbooked}
    sql.execute("DELETE FROM webhook_events WHERE provider = 'GONE'")
