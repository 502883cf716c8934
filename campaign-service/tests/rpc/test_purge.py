"""PurgeExpired deletes only rows that are older than their retention."""

from datetime import timedelta
from typing import Any

import grpc
import psycopg
import pytest
from adplatform.campaign.v1 import campaign_pb2 as pb
from adplatform.campaign.v1 import campaign_pb2_grpc

Client = Any  # conftest's, which cannot be imported


def test_purge_deletes_keys_after_30_days_and_keeps_campaigns(client: Client, database_url: str) -> None:
    campaign = client.create("new")
    now = client.outside.clock.now()
    with psycopg.connect(database_url, autocommit=True) as sql:
        sql.execute("UPDATE idempotency_keys SET created_at = %s", [now - timedelta(days=29)])
        sql.execute(
            "INSERT INTO idempotency_keys (organization_id, method, key, request_hash, created_at)"
            " VALUES (uuidv7(), 'm', 'old', '', %s)",
            [now - timedelta(days=31)],
        )
        sql.execute(
            "INSERT INTO documents (collection, id, data, version, expires_at) VALUES ('c', 'old', '{}', 1, %s)", [now]
        )
        jobs = campaign_pb2_grpc.CampaignJobsServiceStub(client.channel)
        with pytest.raises(grpc.RpcError) as refused:
            jobs.PurgeExpired(pb.PurgeExpiredRequest(), metadata=client.headers)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        scheduler = client.outside.identities.service_headers("scheduler")
        result = jobs.PurgeExpired(pb.PurgeExpiredRequest(), metadata=scheduler)
        assert (result.success, result.stats.total) == (True, 2)
        assert result.message.endswith("rows deleted: 1 idempotency_keys, 1 documents")
        assert [key for (key,) in sql.execute("SELECT key FROM idempotency_keys")] == ["new"]
    assert client.create("new") == campaign
