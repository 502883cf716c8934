"""Ids contain their creation time and sort by it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from adlib.ids import creation_time, min_id_at, new_id

MS = timedelta(milliseconds=1)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))


def test_new_id_has_the_current_time() -> None:
    before = datetime.now(UTC)
    id = new_id()
    assert before - MS < creation_time(id) <= datetime.now(UTC)


@given(times, times, st.integers(0, 2**74 - 1))
def test_min_id_at_separates_earlier_ids_from_later_ones(at: datetime, made: datetime, rest: int) -> None:
    id = UUID(int=min_id_at(made).int | 7 << 76 | rest)
    assert (id >= min_id_at(at)) == (creation_time(id) >= at)
    assert timedelta() <= creation_time(id) - made < MS


def test_min_id_at_before_the_epoch_is_zero() -> None:
    assert min_id_at(datetime(1, 1, 1, tzinfo=UTC)) == UUID(int=0)
