"""What the warehouse has is exact, however often it is told."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest

from adlib.errors import Unavailable
from adlib.ids import new_id
from adtesting import eventually
from adtesting.small_disk import Filler, on_small_disk
from analytics_service.warehouse.duckdb import DuckDbWarehouse
from analytics_service.warehouse.model import CampaignSpans, CampaignSums, Spend, Sums, TrackedEvent, Warehouse

ORGANIZATION, CAMPAIGN = str(uuid4()), str(uuid4())


def event(type: str = "IMPRESSION", time: int = 5, **changes: object) -> TrackedEvent:
    made = TrackedEvent(
        event_id=str(new_id()), type=type, time_micros=time, organization_id=ORGANIZATION, campaign_id=CAMPAIGN,
        pixel_id="p", zone_id="", click_id="", goal="", transaction_id="", value_micros=0, currency_code="",
        visitor_id="v", user_agent="", referrer="",
    )  # fmt: skip
    return replace(made, **changes)


def spend(amount: int, time: int = 5, **changes: object) -> Spend:
    made = Spend(str(new_id()), time, ORGANIZATION, CAMPAIGN, "TRAFFIC_ENGINE", "", amount, "USD")
    return replace(made, **changes)


def spans(*edges: int) -> CampaignSpans:
    return CampaignSpans(ORGANIZATION, CAMPAIGN, "USD", edges)


@pytest.fixture(params=[DuckDbWarehouse])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    made = request.param(tmp_path / "warehouse.duckdb")
    yield made
    made.close()


def test_each_event_is_kept_once_in_overlapping_batches(warehouse: Warehouse) -> None:
    events = [event() for _ in range(1_000)]
    assert warehouse.add_events(events[:600]) == 600
    assert warehouse.add_events(events[:600]) == 0
    shuffled = events[300:] + events[300:500]
    random.Random(1).shuffle(shuffled)
    assert warehouse.add_events(shuffled) == 400
    assert warehouse.sums(spans(0, 10)).total.impressions == 1_000


def test_a_late_event_with_an_old_id_is_kept(warehouse: Warehouse) -> None:
    late, others = event(), [event() for _ in range(10)]
    assert warehouse.add_events(others) == 10
    assert warehouse.add_events([late, others[0]]) == 1


def test_sums_are_of_the_span_the_campaign_and_the_currency(warehouse: Warehouse) -> None:
    warehouse.add_events(
        [
            event(time=0, visitor_id="a"),
            event(time=9, visitor_id="b"),
            event("CLICK", time=9, visitor_id="a"),
            event("CONVERSION", time=10, value_micros=7, currency_code="USD"),
            event("CONVERSION", time=10, value_micros=9, currency_code="EUR"),
            event(time=20),
            event(time=5, campaign_id=str(uuid4())),
            event(time=5, organization_id=str(uuid4())),
        ]
    )
    warehouse.add_spend([spend(3, 0), spend(4, 9), spend(5, 10), spend(6, 10, currency_code="EUR")])
    assert warehouse.sums(spans(0, 10, 20)) == CampaignSums(
        total=Sums(impressions=2, clicks=1, conversions=2, unique_users=3, spend_micros=12, revenue_micros=7),
        spans={
            0: Sums(impressions=2, clicks=1, unique_users=2, spend_micros=7),
            10: Sums(conversions=2, unique_users=1, spend_micros=5, revenue_micros=7),
        },
    )
    assert warehouse.sums(spans(30, 40)) == CampaignSums(Sums(), {})


def test_a_file_that_another_process_has_open_is_named(warehouse: Warehouse, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from analytics_service.warehouse.duckdb import DuckDbWarehouse
DuckDbWarehouse(Path({str(tmp_path / "warehouse.duckdb")!r}))
"""
    second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigurationError: WAREHOUSE_PATH" in second.stderr


def test_a_warehouse_that_cannot_answer_is_unavailable(tmp_path: Path) -> None:
    warehouse = DuckDbWarehouse(tmp_path / "warehouse.duckdb")
    warehouse.close()
    with pytest.raises(Unavailable):
        warehouse.add_events([event()])
    with pytest.raises(Unavailable):
        warehouse.sums(spans(0, 10))


def test_spend_is_kept_once(warehouse: Warehouse) -> None:
    row = spend(3)
    assert warehouse.add_spend([row]) == 1
    assert warehouse.add_spend([row, spend(4)]) == 1
    assert warehouse.sums(spans(0, 10)).total.spend_micros == 7


def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    program = f"""
import os, signal
from pathlib import Path
from analytics_service.warehouse.duckdb import DuckDbWarehouse
from analytics_service.warehouse.model import Spend
warehouse = DuckDbWarehouse(Path({str(path)!r}))
row = (5, {ORGANIZATION!r}, {CAMPAIGN!r}, "TRAFFIC_ENGINE", "", 2, "USD")
warehouse.add_spend([Spend(str(n), *row) for n in range(50)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    warehouse = DuckDbWarehouse(path)
    assert warehouse.sums(spans(0, 10)).total.spend_micros == 100
    warehouse.close()


@on_small_disk(24)
def test_without_space_it_is_unavailable_and_says_why_and_goes_on_by_itself(small_disk: Path) -> None:
    filler = Filler(small_disk)
    warehouse = DuckDbWarehouse(small_disk / "warehouse.duckdb")
    kept = [event() for _ in range(100)]
    assert warehouse.add_events(kept) == 100
    filler.fill()
    refusals = set()
    for _ in range(10):
        batch = [event(user_agent="x" * 400) for _ in range(2_000)]
        with pytest.raises(Unavailable) as refused:
            warehouse.add_events(batch)
        refusals.add(refused.value.message)
    assert refusals == {"the warehouse has no space left; try again later"}
    assert warehouse.sums(spans(0, 10)).total.impressions == 100
    filler.free()
    assert warehouse.add_events(batch) == 2_000
    assert warehouse.add_events(kept) == 0
    assert warehouse.sums(spans(0, 10)).total.impressions == 2_100
    warehouse.close()
    again = DuckDbWarehouse(small_disk / "warehouse.duckdb")
    assert again.sums(spans(0, 10)).total.impressions == 2_100
    again.close()


@on_small_disk(80)
def test_a_checkpoint_without_space_loses_nothing_and_needs_nobody(small_disk: Path) -> None:
    filler, path = Filler(small_disk), small_disk / "warehouse.duckdb"
    warehouse, added = DuckDbWarehouse(path), 0

    def add() -> None:
        nonlocal added
        # Text that does not compress, so that the file grows by what is added.
        added += warehouse.add_events([event(user_agent=os.urandom(400).hex()) for _ in range(2_000)])

    # At 16 MB beside the file itself DuckDB writes a checkpoint into it; here it is asked for.
    for _ in range(4):
        add()
    # DuckDB gives a second connection to a file only to one that has the same settings.
    with duckdb.connect(str(path), config={"memory_limit": "256MB", "threads": 2}) as beside:
        filler.fill()
        with pytest.raises(duckdb.FatalException):
            beside.execute("CHECKPOINT")
    for _ in range(3):
        with pytest.raises(Unavailable, match="no space left"):
            add()
    filler.free()
    assert eventually(lambda: warehouse.sums(spans(0, 10)).total.impressions == added)
    add()
    warehouse.close()
    again = DuckDbWarehouse(path)
    assert again.sums(spans(0, 10)).total.impressions == added == 10_000
    again.close()
