"""Tampering with a hash chain is detected and located."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth_service.audit.model import CHAIN_START, ChainPosition, Entry, LogRow, chained, first_broken, row_hash

ORGANIZATION = uuid4()
_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
_entries = st.builds(
    Entry,
    id=st.uuids(),
    time=st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)),
    actor=_texts,
    user_id=st.none() | st.uuids(),
    api_key_id=st.none() | st.uuids(),
    service=_texts,
    action=_texts,
    resource=_texts,
    outcome=_texts,
    reason=_texts,
    request_id=_texts,
    address=_texts,
)
_logs = st.lists(_entries, min_size=1, max_size=8, unique_by=lambda entry: entry.id)


def chain(entries: list[Entry]) -> list[LogRow]:
    rows: list[LogRow] = []
    before = CHAIN_START
    for entry in entries:
        rows.append(chained(ORGANIZATION, before, entry))
        before = ChainPosition(rows[-1].sequence, rows[-1].hash)
    return rows


# A wall-clock limit would fail on a busy machine.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def is_intact(rows: list[LogRow], end: ChainPosition) -> bool:
    """Whether the rows form a chain up to the recorded head, as the service checks."""
    last, broken = first_broken(ORGANIZATION, CHAIN_START, rows)
    return not broken and last == end


@untimed
@given(_logs)
def test_unmodified_chain_is_intact(entries: list[Entry]) -> None:
    rows = chain(entries)
    assert is_intact(rows, ChainPosition(len(rows), rows[-1].hash))


@untimed
@given(_logs, st.data())
def test_changed_field_breaks_the_chain_at_its_row(entries: list[Entry], data: st.DataObject) -> None:
    rows = chain(entries)
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(Entry)]))
    old = getattr(rows[at].entry, name)
    other = {
        str: lambda: old + "x",
        datetime: lambda: old + timedelta(microseconds=1),
        UUID: lambda: data.draw(st.sampled_from([uuid4(), None] if name != "id" else [uuid4()])),
        type(None): uuid4,
    }[type(old)]()
    rows[at] = replace(rows[at], entry=replace(rows[at].entry, **{name: other}))
    assert first_broken(ORGANIZATION, CHAIN_START, rows)[1] == at + 1


@untimed
@given(_logs, st.data())
def test_dropped_row_breaks_the_chain(entries: list[Entry], data: st.DataObject) -> None:
    rows = chain(entries)
    end = ChainPosition(len(rows), rows[-1].hash)
    at = data.draw(st.integers(0, len(rows) - 1))
    assert not is_intact(rows[:at] + rows[at + 1 :], end)
    renumbered = [replace(row, sequence=n) for n, row in enumerate(rows[:at] + rows[at + 1 :], 1)]
    assert not is_intact(renumbered, end)


@untimed
@given(_logs, _entries, st.data())
def test_inserted_row_breaks_the_chain(entries: list[Entry], entry: Entry, data: st.DataObject) -> None:
    """Even a row with the right hash for its position: the next row, or the head, does not match it."""
    rows = chain(entries)
    end = ChainPosition(len(rows), rows[-1].hash)
    at = data.draw(st.integers(0, len(rows)))
    before = ChainPosition(at, rows[at - 1].hash) if at else CHAIN_START
    forged = [*rows[:at], chained(ORGANIZATION, before, entry), *rows[at:]]
    assert not is_intact(forged, end)
    assert not is_intact([replace(row, sequence=n) for n, row in enumerate(forged, 1)], end)


@untimed
@given(_logs.filter(lambda entries: len(entries) > 1), st.data())
def test_reordered_rows_break_the_chain(entries: list[Entry], data: st.DataObject) -> None:
    rows = chain(entries)
    end = ChainPosition(len(rows), rows[-1].hash)
    order = data.draw(st.permutations(range(len(rows))).filter(lambda order: order != list(range(len(rows)))))
    shuffled = [rows[n] for n in order]
    assert not is_intact(shuffled, end)
    assert not is_intact([replace(row, sequence=n) for n, row in enumerate(shuffled, 1)], end)


@untimed
@given(_logs)
def test_row_of_another_organization_breaks_the_chain(entries: list[Entry]) -> None:
    rows = [replace(row, organization_id=uuid4()) for row in chain(entries)]
    assert first_broken(ORGANIZATION, CHAIN_START, rows)[1] == 1
    moved = uuid4()
    assert first_broken(moved, CHAIN_START, [replace(row, organization_id=moved) for row in rows])[1] == 1


@untimed
@given(_entries.filter(lambda entry: entry.service and entry.resource))
def test_text_moved_between_fields_changes_the_hash(entry: Entry) -> None:
    moved = replace(entry, action=entry.action + entry.resource[0], resource=entry.resource[1:])
    assert row_hash(ORGANIZATION, 1, bytes(32), entry) != row_hash(ORGANIZATION, 1, bytes(32), moved)
