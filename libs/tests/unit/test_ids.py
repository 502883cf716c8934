"""An id says when it was made, and ids are in the order of time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from adlib.ids import creation_time, min_id_at, new_id

MS = timedelta(milliseconds=1)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))


def test_a_new_id_says_now() -> None:
    before = datetime.now(UTC)
    id = new_id()
    assert before - MS < creation_time(id) <= datetime.now(UTC)


@given(times, times, st.integers(0, 2**74 - 1))
def test_the_first_id_of_a_time_parts_what_was_made_before_it_from_the_rest(
    at: datetime, made: datetime, rest: int
) -> None:
    id = UUID(int=min_id_at(made).int | 7 << 76 | rest)
    assert (id >= min_id_at(at)) == (creation_time(id) >= at)
    assert timedelta() <= creation_time(id) - made < MS


def test_before_there_were_ids_is_before_all() -> None:
    assert min_id_at(datetime(1, 1, 1, tzinfo=UTC)) == UUID(int=0)
