"""Every implementation of Warehouse: exact, idempotent, durable and available again after a full disk."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from adplatform.events.v1.events_pb2 import Event, SpendPosted, TrackingEvent
from google.protobuf.timestamp_pb2 import Timestamp

from adlib.errors import Unavailable
from adlib.ids import new_id
from adtesting import eventually
from adtesting.small_disk import Filler, on_small_disk
from analytics_service.tables import DIMENSIONS, EVENTS, SPEND
from analytics_service.warehouse.duckdb.client import DuckDbFile
from analytics_service.warehouse.duckdb.store import DuckDbWarehouse
from analytics_service.warehouse.model import Metrics, MetricsQuery, MetricsResult, Warehouse

ORGANIZATION, CAMPAIGN = str(uuid4()), str(uuid4())


def timestamp(micros: int) -> Timestamp:
    return Timestamp(nanos=micros * 1_000)


def event(type: str = "IMPRESSION", time: int = 5, **fields: Any) -> TrackingEvent:
    given = {"organization_id": ORGANIZATION, "campaign_id": CAMPAIGN, "pixel_id": "p", "visitor_id": "v", **fields}
    return TrackingEvent(id=str(new_id()), type=TrackingEvent.Type.Value(type), time=timestamp(time), **given)


def spend(amount: int, time: int = 5, currency_code: str = "USD") -> Event:
    posted = SpendPosted(campaign_id=CAMPAIGN, day="1970-01-01", amount_micros=amount, currency_code=currency_code)
    return Event(id=str(new_id()), time=timestamp(time), organization_id=ORGANIZATION, spend_posted=posted)


def query(*boundaries: int) -> MetricsQuery:
    return MetricsQuery(ORGANIZATION, {"campaign_id": CAMPAIGN}, "USD", boundaries)


def total(warehouse: Warehouse) -> Metrics:
    return warehouse.metrics(query(0, 10)).total


def open_duckdb(path: Path) -> tuple[DuckDbFile, DuckDbWarehouse]:
    file = DuckDbFile(path)
    return file, DuckDbWarehouse(file)


@pytest.fixture(params=[open_duckdb])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    file, warehouse = request.param(tmp_path / "warehouse.duckdb")
    yield warehouse
    file.close()


def test_dimensions_are_columns_of_every_table() -> None:
    for table in (EVENTS, SPEND):
        assert set(DIMENSIONS) <= {column.name for column in table.columns}


def test_overlapping_batches_store_each_event_once(warehouse: Warehouse) -> None:
    events = [event() for _ in range(1_000)]
    assert warehouse.insert(EVENTS, events[:600]) == 600
    assert warehouse.insert(EVENTS, events[:600]) == 0
    shuffled = events[300:] + events[300:500]
    random.Random(1).shuffle(shuffled)
    assert warehouse.insert(EVENTS, shuffled) == 400
    assert total(warehouse).impressions == 1_000


def test_late_event_with_an_old_id_is_stored(warehouse: Warehouse) -> None:
    late, others = event(), [event() for _ in range(10)]
    assert warehouse.insert(EVENTS, others) == 10
    assert warehouse.insert(EVENTS, [late, others[0]]) == 1


def test_metrics_are_limited_to_the_interval_campaign_organization_and_currency(warehouse: Warehouse) -> None:
    warehouse.insert(
        EVENTS,
        [
            event(time=0, visitor_id="a"),
            event(time=9, visitor_id="b"),
            event("CLICK", time=9, visitor_id="a"),
            event("CONVERSION", time=10, value_micros=7, currency_code="USD"),
            event("CONVERSION", time=10, value_micros=9, currency_code="EUR"),
            event(time=20),
            event(time=5, campaign_id=str(uuid4())),
            event(time=5, organization_id=str(uuid4())),
        ],
    )
    warehouse.insert(SPEND, [spend(3, 0), spend(4, 9), spend(5, 10), spend(6, 10, currency_code="EUR")])
    assert warehouse.metrics(query(0, 10, 20)) == MetricsResult(
        total=Metrics(impressions=2, clicks=1, conversions=2, unique_users=3, spend_micros=12, revenue_micros=7),
        by_interval={
            0: Metrics(impressions=2, clicks=1, unique_users=2, spend_micros=7),
            10: Metrics(conversions=2, unique_users=1, spend_micros=5, revenue_micros=7),
        },
    )
    assert warehouse.metrics(query(30, 40)) == MetricsResult(Metrics(), {})


def test_new_column_is_added_to_a_stored_table(tmp_path: Path) -> None:
    file, warehouse = open_duckdb(tmp_path / "warehouse.duckdb")
    warehouse.insert(EVENTS, [event()])
    with file.cursor() as cursor:
        cursor.execute("ALTER TABLE events DROP COLUMN referrer")
        cursor.execute("ALTER TABLE events DROP COLUMN value_micros")
    file.close()
    file, warehouse = open_duckdb(tmp_path / "warehouse.duckdb")
    assert warehouse.insert(EVENTS, [event("CONVERSION", value_micros=7, currency_code="USD")]) == 1
    assert total(warehouse) == Metrics(impressions=1, conversions=1, unique_users=1, revenue_micros=7)
    with file.cursor() as cursor:
        assert cursor.execute("SELECT DISTINCT referrer FROM events").fetchall() == [("",)]
    file.close()


def test_only_dimensions_can_be_filtered(warehouse: Warehouse) -> None:
    with pytest.raises(ValueError, match="not a dimension: user_agent"):
        warehouse.metrics(MetricsQuery(ORGANIZATION, {"user_agent": ""}, "USD", [0, 10]))


def test_file_opened_by_another_process_is_a_configuration_error(warehouse: Warehouse, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from analytics_service.warehouse.duckdb.client import DuckDbFile
DuckDbFile(Path({str(tmp_path / "warehouse.duckdb")!r}))
"""
    second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigurationError: WAREHOUSE_PATH" in second.stderr


def test_closed_warehouse_is_unavailable(tmp_path: Path) -> None:
    file, warehouse = open_duckdb(tmp_path / "warehouse.duckdb")
    file.close()
    with pytest.raises(Unavailable):
        warehouse.insert(EVENTS, [event()])
    with pytest.raises(Unavailable):
        warehouse.metrics(query(0, 10))


def test_spend_is_stored_once(warehouse: Warehouse) -> None:
    posted = spend(3)
    assert warehouse.insert(SPEND, [posted]) == 1
    assert warehouse.insert(SPEND, [posted, spend(4)]) == 1
    assert total(warehouse).spend_micros == 7


def test_inserted_rows_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    program = f"""
import os, signal
from pathlib import Path
from adplatform.events.v1.events_pb2 import Event
from analytics_service.tables import SPEND
from analytics_service.warehouse.duckdb.client import DuckDbFile
from analytics_service.warehouse.duckdb.store import DuckDbWarehouse
warehouse = DuckDbWarehouse(DuckDbFile(Path({str(path)!r})))
spend = Event.FromString({spend(2).SerializeToString()!r})
warehouse.insert(SPEND, [Event(id=str(n), time=spend.time, organization_id=spend.organization_id,
                               spend_posted=spend.spend_posted) for n in range(50)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    file, warehouse = open_duckdb(path)
    assert total(warehouse).spend_micros == 100
    file.close()


@on_small_disk(24)
def test_full_disk_is_reported_as_unavailable_and_inserts_resume_once_there_is_space(small_disk: Path) -> None:
    filler = Filler(small_disk)
    file, warehouse = open_duckdb(small_disk / "warehouse.duckdb")
    stored = [event() for _ in range(100)]
    assert warehouse.insert(EVENTS, stored) == 100
    filler.fill()
    messages = set()
    for _ in range(10):
        batch = [event(user_agent="x" * 400) for _ in range(2_000)]
        with pytest.raises(Unavailable) as refused:
            warehouse.insert(EVENTS, batch)
        messages.add(refused.value.message)
    assert messages == {"the warehouse has no space left; try again later"}
    assert total(warehouse).impressions == 100
    filler.free()
    assert warehouse.insert(EVENTS, batch) == 2_000
    assert warehouse.insert(EVENTS, stored) == 0
    assert total(warehouse).impressions == 2_100
    file.close()
    file, warehouse = open_duckdb(small_disk / "warehouse.duckdb")
    assert total(warehouse).impressions == 2_100
    file.close()


@on_small_disk(80)
def test_failed_checkpoint_loses_no_rows_and_recovers_without_a_restart(small_disk: Path) -> None:
    filler, path = Filler(small_disk), small_disk / "warehouse.duckdb"
    file, warehouse = open_duckdb(path)
    inserted = 0

    def insert() -> None:
        nonlocal inserted
        # Text that does not compress, so that the file grows by the size of the rows.
        inserted += warehouse.insert(EVENTS, [event(user_agent=os.urandom(400).hex()) for _ in range(2_000)])

    # DuckDB writes a checkpoint once its write-ahead log has 16 MB; the test requests one.
    for _ in range(4):
        insert()
    # DuckDB opens a second connection to a file only with the same settings.
    with duckdb.connect(str(path), config={"memory_limit": "256MB", "threads": 2}) as second:
        filler.fill()
        with pytest.raises(duckdb.FatalException):
            second.execute("CHECKPOINT")
    for _ in range(3):
        with pytest.raises(Unavailable, match="no space left"):
            insert()
    filler.free()
    assert eventually(lambda: total(warehouse).impressions == inserted)
    insert()
    file.close()
    file, warehouse = open_duckdb(path)
    assert total(warehouse).impressions == inserted == 10_000
    file.close()
