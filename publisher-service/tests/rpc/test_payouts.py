"""The whole life of a payout, through the stub and the bus."""

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
from publisher_service.clients.payment import FakeLedger
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
        # Each twice, as a bus may deliver it.
        bus.publish("payment", [event.SerializeToString()] * 2)

    return publish


@pytest.fixture
def available(publishers, owner):
    def read() -> int:
        (row,) = publishers.ListBalances(pb.ListBalancesRequest(), metadata=owner.headers()).balances
        return row.available_micros

    return read


def test_money_that_is_asked_for_is_set_aside_sent_and_paid(
    ask, approve, get, settle, staff, ledger, available
) -> None:
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


def test_an_account_in_the_united_states_is_kept_as_it_was_given(ask, get) -> None:
    account = BankAccount.UnitedStates(routing_number="021000021", account_number="12345678")
    asked = ask(destination=BankAccount(account_holder_name="Ada", united_states=account))
    assert get(asked).destination.united_states == account


def test_rejected_money_is_available_again_with_the_reason_told(ask, reject, approve, get, available, refused) -> None:
    asked = ask()
    rejected = reject(asked)
    assert (rejected.state, rejected.reason) == (State.REJECTED, "wrong name")
    assert available() == 100_000_000
    assert reject(asked) == rejected
    assert get(asked) == rejected
    why = refused(ErrorReason.PAYOUT_STATE_INVALID, approve, asked)
    assert why.metadata == {"state": "REJECTED"}


def test_nobody_approves_the_payout_they_asked_for(ask, approve, owner, member, get, refused) -> None:
    asked = ask()
    also_staff = member(Organization.PLATFORM, Permission.ADMIN_FULL, person=owner.person)
    refused(ErrorReason.PAYOUT_SELF_APPROVAL, approve, asked, also_staff)
    assert get(asked).state == State.PENDING_APPROVAL


def test_an_exact_repeat_of_an_approval_answers_the_same(ask, approve, reject, member, refused) -> None:
    asked = ask()
    sent = approve(asked)
    assert approve(asked) == sent
    other = member(Organization.PLATFORM, Permission.ADMIN_FULL)
    refused(ErrorReason.PAYOUT_STATE_INVALID, approve, asked, other)
    refused(ErrorReason.PAYOUT_STATE_INVALID, reject, asked)


def test_payouts_are_unknown_to_other_organizations_and_decided_by_staff_alone(
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


def test_a_payout_is_asked_for_by_the_own_approved_publisher(
    asking, payouts, publisher, register, member, staff, refused
) -> None:
    for who in (staff, member()):
        request = asking(publisher)
        refused(ErrorReason.PUBLISHER_NOT_FOUND, payouts.RequestPayout, request, metadata=who.headers())
    new = member()
    pending = register(new)
    refused(ErrorReason.PUBLISHER_NOT_APPROVED, payouts.RequestPayout, asking(pending), metadata=new.headers())


def test_what_cannot_be_paid_is_refused_before_anything_is_stored(ask, ledger, refused) -> None:
    typo = BankAccount(account_holder_name="Ada", iban="DE88370400440532013000")
    refused(ErrorReason.INVALID_FIELD, ask, destination=typo)
    refused(ErrorReason.INVALID_FIELD, ask, amount_micros=1_000_001)
    refused(ErrorReason.CURRENCY_UNSUPPORTED, ask, currency_code="XXX")
    assert not ledger.payouts


def test_more_than_is_available_is_refused_and_leaves_nothing_behind(ask, ledger, publisher, refused) -> None:
    why = refused(ErrorReason.INSUFFICIENT_FUNDS, ask, "key", amount_micros=101_000_000)
    assert why.metadata == {"availableMicros": "100000000", "requiredMicros": "101000000"}
    ledger.credit(UUID(publisher.id), 1_000_000)
    assert ask("key", amount_micros=101_000_000).state == State.PENDING_APPROVAL
    assert len(ledger.payouts) == 1


def test_a_repeated_request_asks_once(ask, approve, ledger, refused) -> None:
    asked = ask("key")
    approve(asked)
    assert ask("key") == asked
    refused(ErrorReason.IDEMPOTENCY_KEY_REUSED, ask, "key", amount_micros=41_000_000)
    assert len(ledger.payouts) == 1
    assert ask("another").id != asked.id


def test_a_repeat_carries_on_after_payment_service_was_down(ask, ledger, refused) -> None:
    ledger.is_down = True
    refused(ErrorReason.UNAVAILABLE, ask, "key")
    ledger.is_down = False
    asked = ask("key")
    assert asked.state == State.PENDING_APPROVAL
    assert list(ledger.payouts) == [UUID(asked.id)]


def test_a_crash_between_reserving_and_recording_reserves_once(
    ask, jobs, get, identities, clock, ledger, refused, available
) -> None:
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


def test_an_approval_stands_while_payment_service_is_down_and_a_repeat_sends(ask, approve, get, ledger) -> None:
    asked = ask()
    ledger.is_down = True
    assert approve(asked).state == State.APPROVED
    assert get(asked).state == State.APPROVED
    ledger.is_down = False
    assert approve(asked).state == State.PROCESSING


def test_a_rejection_stands_while_payment_service_is_down(ask, reject, get, ledger, jobs, identities, clock) -> None:
    asked = ask()
    ledger.is_down = True
    assert reject(asked).state == State.REJECTED
    assert get(asked).state == State.REJECTED
    assert ledger.payouts[UUID(asked.id)] == "reserved"
    ledger.is_down = False
    clock.at = clock.at.replace(hour=13)
    jobs.SyncPublisherBalances(pb.SyncPublisherBalancesRequest(), metadata=identities.service_headers("scheduler"))
    assert ledger.payouts[UUID(asked.id)] == "cancelled"


def test_news_overtake_an_answer_that_was_lost(ask, approve, get, ledger, settle) -> None:
    asked = ask()
    ledger.loses_answers = True
    assert approve(asked).state == State.APPROVED
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.PAID)
    ledger.loses_answers = False
    assert approve(asked).state == State.PAID


def test_news_that_come_while_money_is_being_sent_are_not_undone(ask, get, staff, db, clock) -> None:
    class Fast(FakeLedger):
        def send(self, payout: Payout) -> None:
            service.settle(payout.id, Outcome.PAID, "")

    service = PayoutService(db, Fast(), clock, new_id)
    asked = ask()
    caller = Caller(staff.person.user_id, staff.person.session_id, staff.organization_id, Organization.PLATFORM)
    assert service.approve(caller, UUID(asked.id)).state is PayoutState.PAID
    assert get(asked).state == State.PAID


def test_a_payout_is_worked_on_by_one_at_a_time(ask, approve, get, ledger, owner, db, refused) -> None:
    ledger.is_down = True
    refused(ErrorReason.UNAVAILABLE, ask, "key")
    ledger.is_down = False
    begun = store.by_key(db, owner.organization_id, "key")
    assert begun
    with db.advisory_lock(f"payout:{begun.id}") as alone:
        assert alone
        refused(ErrorReason.CONFLICT, ask, "key")
    asked = ask("key")
    assert asked.id == str(begun.id)
    with db.advisory_lock(f"payout:{begun.id}"):
        assert approve(asked).state == State.APPROVED
    assert approve(asked).state == State.PROCESSING


def test_news_come_out_of_order_and_more_than_once(ask, approve, get, settle) -> None:
    asked = ask()
    approve(asked)
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.PAID)
    settle(asked, PayoutSettled.PROCESSING)
    settle(asked, PayoutSettled.FAILED, "the account is closed")
    settle(asked, PayoutSettled.PAID)
    eventually(lambda: get(asked).state == State.FAILED)
    # A payout after them in the topic shows that all of them have been read.
    last = ask()
    approve(last)
    settle(last, PayoutSettled.PAID)
    eventually(lambda: get(last).state == State.PAID)
    assert (get(asked).state, get(asked).reason) == (State.FAILED, "the account is closed")


@pytest.mark.parametrize("round_number", range(3))
def test_of_two_who_decide_at_the_same_time_exactly_one_wins(
    round_number, ask, approve, reject, member, ledger, get
) -> None:
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


def test_a_key_that_was_purged_still_stands_for_its_payout(ask, db, refused, available) -> None:
    first, left = ask("key"), available()
    with db.transaction() as tx:
        tx.execute(Query(text("DELETE FROM idempotency_keys")))
    refused(ErrorReason.IDEMPOTENCY_KEY_REUSED, ask, "key", amount_micros=50_000_000)
    assert ask("key").id == first.id
    assert available() == left


def test_requests_at_the_same_time_with_one_key_reserve_once(ask, ledger, available) -> None:
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
