"""PurgeExpired deletes rows past their retention, and no others."""

import grpc
import psycopg
import pytest
from adplatform.pixel.v1 import jobs_pb2 as pb
from adplatform.pixel.v1 import jobs_pb2_grpc

from adtesting import Identities


@pytest.fixture
def identities() -> Identities:
    made = Identities()
    made.service("scheduler")
    return made


def test_idempotency_keys_are_purged_after_30_days_and_rejections_after_400(
    channel: grpc.Channel, identities: Identities, database_url: str
) -> None:
    jobs = jobs_pb2_grpc.PixelJobsServiceStub(channel)
    with psycopg.connect(database_url, autocommit=True) as sql:
        for key, days in (("old", 31), ("recent", 29)):
            sql.execute(
                "INSERT INTO idempotency_keys (organization_id, method, key, request_hash, created_at)"
                " VALUES (uuidv7(), 'm', %s, '', now() - make_interval(days => %s))",
                [key, days],
            )
        for reason, days in (("old", 401), ("recent", 399)):
            sql.execute("INSERT INTO rejections VALUES (current_date - %s::int, %s, 7)", [days, reason])
        with pytest.raises(grpc.RpcError) as refused:
            jobs.PurgeExpired(pb.PurgeExpiredRequest(), metadata=identities.headers(identities.person()))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        result = jobs.PurgeExpired(pb.PurgeExpiredRequest(), metadata=identities.service_headers("scheduler"))
        assert (result.success, result.stats.total) == (True, 2)
        assert [key for (key,) in sql.execute("SELECT key FROM idempotency_keys")] == ["recent"]
        assert [reason for (reason,) in sql.execute("SELECT reason FROM rejections")] == ["recent"]
