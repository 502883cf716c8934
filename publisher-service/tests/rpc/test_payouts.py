"""Payouts over gRPC and the bus, from request to settlement."""

import threading
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import Event, PayoutSettled
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1.payment_pb2 import BankAccount
from adplatform.publisher.v1 import publisher_pb2 as pb
from sqlalchemy import text

from adlib.db import Query
from adlib.ids import new_id
from adlib.rpc import Caller
from adtesting import eventually
from adtesting.publisher import FakeLedger
from publisher_service.payouts import store
from publisher_service.payouts.model import Outcome, Payout
from publisher_service.payouts.model import State as PayoutState
from publisher_service.payouts.service import PayoutService

State = pb.Payout


@pytest.fixture
def owner(member):
    return member()


@pytest.fixture
def publisher(register, owner, staff, ledger) -> pb.Publisher:
    made = register(owner, staff)
    ledger.credit(UUID(made.id), 100_000_000)
    return made


@pytest.fixture
def ask(payouts, publisher, owner, asking):
    def call(key: str = "", **changes: object) -> pb.Payout:
        headers = owner.headers(idempotency_key=key) if key else owner.headers()
        return payouts.RequestPayout(asking(publisher, **changes), metadata=headers)

    return call


@pytest.fixture
def approve(payouts, staff):
    def call(payout: pb.Payout, who=None) -> pb.Payout:
        return payouts.ApprovePayout(pb.ApprovePayoutRequest(payout_id=payout.id), metadata=(who or staff).headers())

    return call


@pytest.fixture
def reject(payouts, staff):
    def call(payout: pb.Payout, reason: str = "wrong name", who=None) -> pb.Payout:
        request = pb.RejectPayoutRequest(payout_id=payout.id, reason=reason)
        return payouts.RejectPayout(request, metadata=(who or staff).headers())

    return call


@pytest.fixture
def get(payouts, owner):
    def call(payout: pb.Payout, who=None) -> pb.Payout:
        return payouts.GetPayout(pb.GetPayoutRequest(payout_id=payout.id), metadata=(who or owner).headers())

    return call


@pytest.fixture
def settle(bus):
    def publish(payout: pb.Payout, outcome: int, reason: str = "") -> None:
        event = Event(id=str(new_id()))
        event.payout_settled.CopyFrom(PayoutSettled(payout_id=payout.id, outcome=outcome, reason=reason))
        # Each event twice, as the bus may deliver it.
        bus.publish("payment", [event.SerializeToString()] * 2)

    return publish


@pytest.fixture
def available(publishers, owner):
    def read() -> int:
        (row,) = publishers.ListBalances(pb.ListBalancesRequest(), metadata=owner.headers()).balances
        return row.available_micros

    return read


def test_payout_is_reserved_sent_and_paid(ask, approve, get, settle, staff, ledger, available) -> None:
    asked = ask()
    assert asked.state == State.PENDING_APPROVAL
    assert available() == 60_000_000
    sent = approve(asked)
    assert (sent.state, sent.decided_by_user_id) == (State.PROCESSING, str(staff.person.user_id))
    assert ledger.payouts[UUID(asked.id)] == "sent"
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.PAID)
    assert get(asked).destination == asked.destination
    assert get(asked, staff) == get(asked)


def test_united_states_account_is_stored_unchanged(ask, get) -> None:
    account = BankAccount.UnitedStates(routing_number="021000021", account_number="12345678")
    asked = ask(destination=BankAccount(account_holder_name="Ada", united_states=account))
    assert get(asked).destination.united_states == account


def test_rejected_payout_returns_the_amount_and_has_a_reason(ask, reject, approve, get, available, refused) -> None:
    asked = ask()
    rejected = reject(asked)
    assert (rejected.state, rejected.reason) == (State.REJECTED, "wrong name")
    assert available() == 100_000_000
    assert reject(asked) == rejected
    assert get(asked) == rejected
    why = refused(ErrorReason.PAYOUT_STATE_INVALID, approve, asked)
    assert why.metadata == {"state": "REJECTED"}


def test_requester_cannot_approve_own_payout(ask, approve, owner, member, get, refused) -> None:
    asked = ask()
    also_staff = member(Organization.PLATFORM, Permission.ADMIN_FULL, person=owner.person)
    refused(ErrorReason.PAYOUT_SELF_APPROVAL, approve, asked, also_staff)
    assert get(asked).state == State.PENDING_APPROVAL


def test_repeated_approval_returns_the_same_payout(ask, approve, reject, member, refused) -> None:
    asked = ask()
    sent = approve(asked)
    assert approve(asked) == sent
    other = member(Organization.PLATFORM, Permission.ADMIN_FULL)
    refused(ErrorReason.PAYOUT_STATE_INVALID, approve, asked, other)
    refused(ErrorReason.PAYOUT_STATE_INVALID, reject, asked)


def test_payouts_require_own_organization_and_decisions_require_staff(
    ask, approve, reject, get, member, owner, refused
) -> None:
    asked = ask()
    other = member(Organization.PUBLISHER, Permission.ADMIN_FULL)
    powerful = member(Organization.PUBLISHER, Permission.ADMIN_FULL, organization_id=owner.organization_id)
    refused(ErrorReason.PAYOUT_NOT_FOUND, get, asked, other)
    for who in (other, powerful):
        refused(ErrorReason.PAYOUT_NOT_FOUND, approve, asked, who)
        refused(ErrorReason.PAYOUT_NOT_FOUND, reject, asked, "no", who)
    refused(ErrorReason.PERMISSION_MISSING, approve, asked, owner)
    refused(ErrorReason.PAYOUT_NOT_FOUND, get, pb.Payout(id=str(uuid4())))


def test_payout_requires_own_approved_publisher(asking, payouts, publisher, register, member, staff, refused) -> None:
    for who in (staff, member()):
        request = asking(publisher)
        refused(ErrorReason.PUBLISHER_NOT_FOUND, payouts.RequestPayout, request, metadata=who.headers())
    new = member()
    pending = register(new)
    refused(ErrorReason.PUBLISHER_NOT_APPROVED, payouts.RequestPayout, asking(pending), metadata=new.headers())


def test_invalid_payout_is_refused_before_it_is_stored(ask, ledger, refused) -> None:
    typo = BankAccount(account_holder_name="Ada", iban="DE88370400440532013000")
    refused(ErrorReason.INVALID_FIELD, ask, destination=typo)
    refused(ErrorReason.INVALID_FIELD, ask, amount_micros=1_000_001)
    refused(ErrorReason.CURRENCY_UNSUPPORTED, ask, currency_code="XXX")
    assert not ledger.payouts


def test_payout_above_the_available_balance_is_refused(ask, ledger, publisher, refused) -> None:
    why = refused(ErrorReason.INSUFFICIENT_FUNDS, ask, "key", amount_micros=101_000_000)
    assert why.metadata == {"availableMicros": "100000000", "requiredMicros": "101000000"}
    ledger.credit(UUID(publisher.id), 1_000_000)
    assert ask("key", amount_micros=101_000_000).state == State.PENDING_APPROVAL
    assert len(ledger.payouts) == 1


def test_repeated_request_creates_one_payout(ask, approve, ledger, refused) -> None:
    asked = ask("key")
    approve(asked)
    assert ask("key") == asked
    refused(ErrorReason.IDEMPOTENCY_KEY_REUSED, ask, "key", amount_micros=41_000_000)
    assert len(ledger.payouts) == 1
    assert ask("another").id != asked.id


def test_repeated_request_resumes_after_an_outage(ask, ledger, refused) -> None:
    ledger.is_down = True
    refused(ErrorReason.UNAVAILABLE, ask, "key")
    ledger.is_down = False
    asked = ask("key")
    assert asked.state == State.PENDING_APPROVAL
    assert list(ledger.payouts) == [UUID(asked.id)]


def test_crash_after_reserving_reserves_once(ask, jobs, get, identities, clock, ledger, refused, available) -> None:
    ledger.loses_answers = True
    refused(ErrorReason.UNAVAILABLE, ask, "key")
    ((payout_id, done),) = ledger.payouts.items()
    assert done == "reserved"
    half_done = pb.Payout(id=str(payout_id))
    refused(ErrorReason.PAYOUT_NOT_FOUND, get, half_done)
    ledger.loses_answers = False
    clock.at = clock.at.replace(hour=13)
    jobs.SyncPublisherBalances(pb.SyncPublisherBalancesRequest(), metadata=identities.service_headers("scheduler"))
    assert get(half_done).state == State.PENDING_APPROVAL
    assert ask("key") == get(half_done)
    assert available() == 60_000_000


def test_approval_during_an_outage_is_stored_and_a_repeat_sends(ask, approve, get, ledger) -> None:
    asked = ask()
    ledger.is_down = True
    assert approve(asked).state == State.APPROVED
    assert get(asked).state == State.APPROVED
    ledger.is_down = False
    assert approve(asked).state == State.PROCESSING


def test_rejection_during_an_outage_is_stored_and_completed_by_the_job(
    ask, reject, get, ledger, jobs, identities, clock
) -> None:
    asked = ask()
    ledger.is_down = True
    assert reject(asked).state == State.REJECTED
    assert get(asked).state == State.REJECTED
    assert ledger.payouts[UUID(asked.id)] == "reserved"
    ledger.is_down = False
    clock.at = clock.at.replace(hour=13)
    jobs.SyncPublisherBalances(pb.SyncPublisherBalancesRequest(), metadata=identities.service_headers("scheduler"))
    assert ledger.payouts[UUID(asked.id)] == "cancelled"


def test_outcome_applies_after_a_lost_response(ask, approve, get, ledger, settle) -> None:
    asked = ask()
    ledger.loses_answers = True
    assert approve(asked).state == State.APPROVED
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.PAID)
    ledger.loses_answers = False
    assert approve(asked).state == State.PAID


def test_outcome_during_sending_is_not_overwritten(ask, get, staff, db, clock) -> None:
    class Fast(FakeLedger):
        def send(self, payout: Payout) -> None:
            service.settle(payout.id, Outcome.PAID, "")

    service = PayoutService(db, Fast(), clock, new_id)
    asked = ask()
    caller = Caller(staff.person.user_id, staff.person.session_id, staff.organization_id, Organization.PLATFORM)
    assert service.approve(caller, UUID(asked.id)).state is PayoutState.PAID
    assert get(asked).state == State.PAID


def test_one_call_at_a_time_changes_a_payout(ask, approve, get, ledger, owner, db, refused) -> None:
    ledger.is_down = True
    refused(ErrorReason.UNAVAILABLE, ask, "key")
    ledger.is_down = False
    started = store.by_key(db, owner.organization_id, "key")
    assert started
    with db.advisory_lock(f"payout:{started.id}") as is_locked:
        assert is_locked
        refused(ErrorReason.CONFLICT, ask, "key")
    asked = ask("key")
    assert asked.id == str(started.id)
    with db.advisory_lock(f"payout:{started.id}"):
        assert approve(asked).state == State.APPROVED
    assert approve(asked).state == State.PROCESSING


def test_outcomes_out_of_order_and_repeated_are_applied_once(ask, approve, get, settle) -> None:
    asked = ask()
    approve(asked)
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.PAID)
    settle(asked, PayoutSettled.PROCESSING)
    settle(asked, PayoutSettled.FAILED, "the account is closed")
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.FAILED)
    # A later payout in the topic shows that the earlier events have been consumed.
    last = ask()
    approve(last)
    settle(last, PayoutSettled.PAID)
    eventually(lambda: get(last).state == State.PAID)
    assert (get(asked).state, get(asked).reason) == (State.FAILED, "the account is closed")


@pytest.mark.parametrize("round_number", range(3))
def test_concurrent_decisions_have_one_winner(round_number, ask, approve, reject, member, ledger, get) -> None:
    asked = ask()
    others = [member(Organization.PLATFORM, Permission.ADMIN_FULL) for _ in range(4)]
    start = threading.Barrier(len(others))
    won, lost = [], []

    def decide(number: int) -> None:
        start.wait()
        try:
            answer = approve(asked, others[number]) if number % 2 else reject(asked, "no", others[number])
            won.append((answer.decided_by_user_id, str(others[number].person.user_id)))
        except grpc.RpcError as error:
            lost.append(error.code())

    threads = [threading.Thread(target=decide, args=[number]) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((decided_by, winner),) = won
    assert decided_by == winner == get(asked).decided_by_user_id
    assert lost == [grpc.StatusCode.FAILED_PRECONDITION] * 3
    expected = "sent" if get(asked).state == State.PROCESSING else "cancelled"
    assert ledger.payouts[UUID(asked.id)] == expected


def test_purged_idempotency_key_still_identifies_its_payout(ask, db, refused, available) -> None:
    first, left = ask("key"), available()
    with db.transaction() as tx:
        tx.execute(Query(text("DELETE FROM idempotency_keys")))
    refused(ErrorReason.IDEMPOTENCY_KEY_REUSED, ask, "key", amount_micros=50_000_000)
    assert ask("key").id == first.id
    assert available() == left


def test_concurrent_requests_with_one_key_reserve_once(ask, ledger, available) -> None:
    start = threading.Barrier(4)
    answers, codes = [], []

    def request() -> None:
        start.wait()
        try:
            answers.append(ask("key").id)
        except grpc.RpcError as error:
            codes.append(error.code())

    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {grpc.StatusCode.ABORTED}
    assert set(answers) == {ask("key").id}
    assert len(ledger.payouts) == 1
    assert available() == 60_000_000
