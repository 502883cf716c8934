"""A full disk: calls that need space are UNAVAILABLE with a reason, and succeed again when there is space."""

from contextlib import closing
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from adctl.embedded.postgres import PostgresServer
from adctl.embedded.valkey import ValkeyServer
from adlib.bus import RedisBus
from adlib.db import Database, Query
from adlib.errors import Unavailable
from adlib.service import connect_redis
from adtesting import eventually
from adtesting.small_disk import Filler, on_small_disk

ADD = Query(text("INSERT INTO notes SELECT repeat(md5(n::text), 200) FROM generate_series(1, 100) AS n"))
COUNT = Query(text("SELECT count(*) AS n FROM notes"))


def add(db: Database) -> bool:
    with db.transaction() as tx:
        tx.execute(ADD)
    return True


@on_small_disk(160)
def test_postgres_on_a_full_disk_is_unavailable_with_a_reason(small_disk: Path) -> None:
    filler = Filler(small_disk)
    with PostgresServer(small_disk / "postgres", fsync=False) as server, closing(Database(server.url())) as db:
        with db.transaction() as tx:
            tx.execute(Query(text("CREATE TABLE notes (text text STORAGE PLAIN)")))
        add(db)
        filler.fill()
        refusals = []
        for _ in range(30):
            with pytest.raises(Unavailable) as refused:
                while True:
                    add(db)
            refusals.append(refused.value.message)
        assert "the database has no space left; try again later" in refusals
        filler.free()
        assert eventually(lambda: add(db), within_s=30)
        row = db.one(COUNT)
        assert row is not None
        assert row.n % 100 == 0


@on_small_disk(24)
def test_bus_on_a_full_disk_is_unavailable_with_a_reason(small_disk: Path) -> None:
    filler, payloads = Filler(small_disk), [b"x" * 100_000] * 10
    with ValkeyServer(small_disk / "valkey") as valkey, connect_redis(valkey.url()) as client:
        bus = RedisBus(client)
        bus.publish("topic", payloads)
        stored = client.xlen("bus:topic")
        filler.fill()

        def is_refused() -> bool:
            try:
                bus.publish("topic", payloads)
            except Unavailable as error:
                return "cannot store" in error.message
            return False

        assert eventually(is_refused, within_s=20)
        # Stored messages can still be read.
        subscription = bus.subscribe("topic", "group", "reader")
        with pytest.raises(Unavailable, match="cannot store"):
            subscription.receive(10, 1)
        assert client.xlen("bus:topic") >= stored
        filler.free()
        assert eventually(lambda: bus.publish("topic", [b"after"]) is None, within_s=20)
        assert eventually(lambda: subscription.receive(1, 1), within_s=20)


def test_other_redis_errors_are_not_unavailable(redis_url: str) -> None:
    with connect_redis(redis_url) as client, pytest.raises(redis.ResponseError):
        client.set("bus:topic", b"no stream")
        RedisBus(client).publish("topic", [b"1"])
