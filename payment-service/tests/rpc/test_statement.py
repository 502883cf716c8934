"""Statement lines add up to the balance and show only the organization's own transfers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.payment.v1 import payment_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adlib.clock import instant, timestamp
from adlib.db import Database
from adlib.ids import NewId, min_id_at, new_id
from adtesting import Identities
from payment_service.ledger import store
from payment_service.ledger.model import Transfer, Wallet, deposit

Line = pb.StatementLine
# Kind, reference, and the change of available, held and spent.
LineSummary = tuple[int, str, int, int, int]


def summary(line: pb.StatementLine) -> LineSummary:
    assert bool(line.payment_id) != bool(line.campaign_id)
    deltas = line.available_delta_micros, line.held_delta_micros, line.spent_delta_micros
    return line.kind, line.payment_id or line.campaign_id, *deltas


def sums(lines: list[pb.StatementLine]) -> tuple[int, int, int]:
    deltas = [summary(line)[2:] for line in lines]
    return sum(one[0] for one in deltas), sum(one[1] for one in deltas), sum(one[2] for one in deltas)


class Money:
    """Moves money as a provider and campaign-service do."""

    def __init__(self, db: Database, stub: Any, identities: Identities) -> None:
        self._db = db
        self._stub = stub
        self._headers = identities.service_headers("campaign-service")

    def deposit(self, organization_id: UUID, micros: int, currency_code: str = "USD", ids: NewId = new_id) -> str:
        made = deposit(uuid4(), organization_id, "STRIPE", micros, currency_code)
        with self._db.transaction() as tx:
            store.lock(tx, [made.debit, made.credit])
            store.post(tx, [made], ids)
        return str(made.reference)

    def hold(self, organization_id: UUID, campaign_id: str, micros: int, key: str) -> bool:
        request = pb.HoldBudgetRequest(
            **self._whose(organization_id, campaign_id), amount_micros=micros, idempotency_key=key
        )
        try:
            self._stub.HoldBudget(request, metadata=self._headers)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return False
        return True

    def release(self, organization_id: UUID, campaign_id: str, key: str) -> int:
        request = pb.ReleaseHoldRequest(**self._whose(organization_id, campaign_id), idempotency_key=key)
        return int(self._stub.ReleaseHold(request, metadata=self._headers).released_micros)

    def spend(
        self, organization_id: UUID, campaign_id: str, micros: int, key: str, publisher: pb.PublisherShare | None = None
    ) -> int:
        item = pb.SpendItem(
            **self._whose(organization_id, campaign_id), amount_micros=micros, idempotency_key=key, publisher=publisher
        )
        (result,) = self._stub.PostSpend(pb.PostSpendRequest(items=[item]), metadata=self._headers).results
        return int(result.posted_micros)

    @staticmethod
    def _whose(organization_id: UUID, campaign_id: str) -> dict[str, str]:
        return {"organization_id": str(organization_id), "campaign_id": campaign_id, "currency_code": "USD"}


@pytest.fixture
def money(db: Database, ledger: Any, identities: Identities) -> Money:
    return Money(db, ledger, identities)


steps = st.tuples(
    st.sampled_from(["deposit", "hold", "hold", "spend", "spend", "release"]),
    st.integers(0, 1),  # whose
    st.integers(0, 1),  # for which of the campaigns
    st.integers(1, 1_000),
    st.booleans(),  # once more
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=25), st.integers(1, 7))
def test_statement_lines_add_up_to_the_balance(
    new_customer: Callable[[], Any], money: Money, sequence: list[tuple[str, int, int, int, bool]], page_size: int
) -> None:
    customers = [new_customer(), new_customer()]
    campaigns = [str(uuid4()), str(uuid4())]  # ids that the two organizations share: lines are still apart
    # Each earns from the other, which shows in neither's wallet.
    shares = [
        pb.PublisherShare(
            organization_id=str(one.organization_id), publisher_id=str(uuid4()), zone_id=str(uuid4()),
            share_basis_points=7000,
        )
        for one in reversed(customers)
    ]  # fmt: skip
    wanted: list[list[LineSummary]] = [[], []]
    for number, (what, who, which, micros, again) in enumerate(sequence):
        owner, campaign_id, lines, key = customers[who].organization_id, campaigns[which], wanted[who], f"k{number}"
        for round in range(1 + again):
            if what == "deposit":
                lines.append((Line.DEPOSIT, money.deposit(owner, micros), micros, 0, 0))
            elif what == "hold":
                if money.hold(owner, campaign_id, micros, key) and round == 0:
                    lines.append((Line.HOLD, campaign_id, -micros, micros, 0))
            elif what == "spend":
                if (posted := money.spend(owner, campaign_id, micros, key, shares[who])) and round == 0:
                    lines.append((Line.SPEND, campaign_id, 0, -posted, posted))
            elif (released := money.release(owner, campaign_id, key)) and round == 0:
                lines.append((Line.RELEASE, campaign_id, released, -released, 0))
    for customer, lines in zip(customers, wanted, strict=True):
        found = customer.statement(page_size)
        assert [summary(line) for line in reversed(found)] == lines
        assert len({line.id for line in found}) == len(found)
        assert sums(found) == customer.figures()


Figures = tuple[int, int, int, int, int]


def all_figures(balance: pb.Balance) -> Figures:
    return (
        balance.available_micros, balance.held_micros, balance.spent_micros, balance.reserved_micros,
        balance.debt_micros,
    )  # fmt: skip


def deltas(line: pb.StatementLine) -> Figures:
    return (
        line.available_delta_micros, line.held_delta_micros, line.spent_delta_micros, line.reserved_delta_micros,
        line.debt_delta_micros,
    )  # fmt: skip


def test_statement_lines_of_reversals_and_debt_have_a_reference(customer: Any, money: Money, db: Database) -> None:
    wallet, payment, campaign_id = Wallet(customer.organization_id, "USD"), uuid4(), str(uuid4())
    clearing = wallet.clearing("STRIPE")

    def post(make: Callable[[Any], list[Transfer]]) -> None:
        with db.transaction() as tx:
            store.post(tx, make(store.lock(tx, [wallet.available, wallet.debt, clearing])), new_id)

    def out(kind: str, micros: int, key: str, reference: UUID = payment) -> Transfer:
        return Transfer(kind, wallet.available, clearing, micros, reference, f"{payment}:{key}")

    first = money.deposit(customer.organization_id, 100)
    assert money.hold(customer.organization_id, campaign_id, 60, "h")
    refund, other = out("REFUND", 30, "r").pending(), out("REFUND", 5, "o").pending()
    post(lambda _: [refund])
    post(lambda _: [refund.completed(20)])
    post(lambda _: [other])
    post(lambda _: [other.voided()])
    post(lambda there: wallet.outgoing(out("DISPUTE", 25, "d"), there))
    assert money.release(customer.organization_id, campaign_id, "e") == 60
    post(lambda _: [out("CORRECTION", 1, "c")])
    post(lambda _: [out("CORRECTION", 2, "cc", UUID(campaign_id))])
    lines = customer.statement(3)
    kind, phase, about = Line.Kind.Name, Line.Phase.Name, str(payment)
    assert [
        (kind(one.kind), phase(one.phase), one.payment_id, one.campaign_id, deltas(one)) for one in reversed(lines)
    ] == [
        ("DEPOSIT", "POSTED", first, "", (100, 0, 0, 0, 0)),
        ("HOLD", "POSTED", "", campaign_id, (-60, 60, 0, 0, 0)),
        ("REFUND", "PENDING", about, "", (-30, 0, 0, 30, 0)),
        ("REFUND", "COMPLETED", about, "", (10, 0, 0, -30, 0)),
        ("REFUND", "PENDING", about, "", (-5, 0, 0, 5, 0)),
        ("REFUND", "VOIDED", about, "", (5, 0, 0, -5, 0)),
        ("DISPUTE", "POSTED", about, "", (-20, 0, 0, 0, 0)),
        ("DISPUTE", "POSTED", about, "", (0, 0, 0, 0, 5)),
        ("RELEASE", "POSTED", "", campaign_id, (60, -60, 0, 0, 0)),
        ("DEBT_REPAYMENT", "POSTED", "", campaign_id, (-5, 0, 0, 0, -5)),
        ("CORRECTION", "POSTED", "", "", (-1, 0, 0, 0, 0)),
        ("CORRECTION", "POSTED", "", campaign_id, (-2, 0, 0, 0, 0)),
    ]
    assert tuple(map(sum, zip(*map(deltas, lines), strict=True))) == all_figures(customer.balance())
    assert all_figures(customer.balance()) == (52, 0, 0, 0, 0)


def test_balance_at_a_past_time_excludes_later_transfers(customer: Any, money: Money) -> None:
    noon = datetime(2026, 2, 1, 12, tzinfo=UTC)
    for number in range(3):
        at = noon + timedelta(hours=number)
        money.deposit(
            customer.organization_id, 10**number, ids=lambda at=at: UUID(int=min_id_at(at).int | 7 << 76 | 2 << 62)
        )

    def available(at: datetime) -> int:
        request = pb.GetBalanceRequest(at_time=timestamp(at))
        return int(customer.billing.GetBalance(request, metadata=customer.headers).available_micros)

    assert [available(noon + timedelta(hours=number)) for number in range(4)] == [0, 1, 11, 111]
    assert available(noon + timedelta(microseconds=1)) == 1
    assert available(datetime(1, 1, 1, tzinfo=UTC)) == 0
    assert available(datetime(9999, 1, 1, tzinfo=UTC)) == 111
    assert customer.balance().available_micros == 111


def test_statement_is_paged_newest_first(customer: Any, money: Money) -> None:
    payments = [money.deposit(customer.organization_id, number) for number in range(1, 6)]
    first = customer.billing.GetStatement(pb.GetStatementRequest(page_size=3), metadata=customer.headers)
    assert [line.payment_id for line in first.lines] == payments[:1:-1]
    money.deposit(customer.organization_id, 9)
    rest = pb.GetStatementRequest(page_size=3, page_token=first.next_page_token)
    second = customer.billing.GetStatement(rest, metadata=customer.headers)
    assert [line.payment_id for line in second.lines] == payments[1::-1]
    assert second.next_page_token == ""


def test_statement_is_in_one_currency(customer: Any, money: Money) -> None:
    money.deposit(customer.organization_id, 5)
    euros = money.deposit(customer.organization_id, 7, "EUR")
    assert sums(customer.statement()) == (5, 0, 0)
    assert [summary(line) for line in customer.statement(currency_code="EUR")] == [(Line.DEPOSIT, euros, 7, 0, 0)]
    with pytest.raises(grpc.RpcError) as refused:
        customer.statement(currency_code="XXX")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_publisher_earnings_are_not_in_the_wallet(new_customer: Callable[[], Any], money: Money) -> None:
    advertiser, publisher = new_customer(), new_customer()
    campaign_id = str(uuid4())
    money.deposit(advertiser.organization_id, 100)
    money.hold(advertiser.organization_id, campaign_id, 60, "h")
    share = pb.PublisherShare(
        organization_id=str(publisher.organization_id), publisher_id=str(uuid4()), zone_id=str(uuid4()),
        share_basis_points=7000,
    )  # fmt: skip
    assert money.spend(advertiser.organization_id, campaign_id, 10, "s", share) == 10
    assert publisher.statement() == []
    assert publisher.figures() == (0, 0, 0)
    assert sums(advertiser.statement()) == advertiser.figures() == (40, 50, 10)


def test_statement_interval_excludes_its_end(customer: Any, money: Money) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    times = [noon + timedelta(milliseconds=ms) for ms in (-1, 0, 1, 500, 999, 1000)]
    for at in times:
        money.deposit(customer.organization_id, 1, ids=lambda at=at: UUID(int=min_id_at(at).int | 7 << 76 | 2 << 62))
    now = money.deposit(customer.organization_id, 1)

    def between(**asked: datetime) -> list[datetime]:
        found = customer.statement(2, **{name: timestamp(at) for name, at in asked.items()})
        return [instant(line.time) for line in reversed(found) if line.payment_id != now]

    assert between() == between(start_time=times[0]) == times
    assert between(end_time=datetime.now(UTC) + timedelta(days=1)) == times
    assert between(start_time=noon, end_time=noon + timedelta(seconds=1)) == times[1:5]
    assert between(start_time=noon + timedelta(microseconds=1)) == times[2:]
    assert between(end_time=noon + timedelta(microseconds=1)) == times[:2]
    assert between(end_time=datetime(1, 1, 1, tzinfo=UTC)) == []
    assert between(start_time=datetime(9999, 1, 1, tzinfo=UTC)) == []
    with pytest.raises(grpc.RpcError) as refused:
        between(start_time=noon, end_time=noon)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("field", ["start_time", "end_time", "at_time"])
def test_invalid_time_is_refused(customer: Any, field: str) -> None:
    asked: dict[str, Any] = {field: Timestamp(seconds=10**15)}
    with pytest.raises(grpc.RpcError) as refused:
        if field == "at_time":
            customer.billing.GetBalance(pb.GetBalanceRequest(**asked), metadata=customer.headers)
        else:
            customer.statement(**asked)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
