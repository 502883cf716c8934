"""Stripe's events have the same outcome in any order, repeated, missed, or mixed with forged ones."""

import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
import pytest
import stripe
from adplatform.auth.v1.auth_pb2 import Organization
from adplatform.options.v1.options_pb2 import Permission
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import refunds_pb2, refunds_pb2_grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.clock import SystemClock
from adtesting import eventually

SECRET = "whsec_payment"
UNIT = 1_000_000
PAID, SPENT, REFUNDED, DISPUTED = 500 * UNIT, 300 * UNIT, 200 * UNIT, 100 * UNIT


def signed(body: bytes, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    at = int(time.time()) - age_s
    return {"stripe-signature": stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)}


def reason(error: grpc.RpcError) -> str:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error).details)
    return found.reason


@dataclass
class Story:
    """A payment and Stripe's events of it, in the order in which they happened."""

    payment_id: str
    events: list[bytes]

    def named(self, *kinds: str) -> list[bytes]:
        """The first event of each kind; `kind=status` is one whose object has that status."""
        found = []
        for kind in kinds:
            name, _, status = kind.partition("=")
            parsed = [(json.loads(body), body) for body in self.events]
            found.append(
                next(
                    body
                    for event, body in parsed
                    if event["type"] == name and status in ("", event["data"]["object"]["status"])
                )
            )
        return found


@pytest.fixture
def at_stripe(sandboxes):
    """Calls the sandbox; Stripe's own webhooks are dropped."""
    sandboxes.behave(sandboxes.stripe, drop_webhooks=True)

    def ask(path: str, **body: object) -> dict[str, object]:
        return sandboxes.stripe.post(path, json=body).raise_for_status().json()

    return ask


@pytest.fixture
def events_of(sandboxes):
    """Stripe's events of a payment, oldest first."""

    def read(payment_id: str) -> list[bytes]:
        answer = sandboxes.stripe.get("/v1/events", params={"limit": 60}).raise_for_status().json()
        intents = {
            event["data"]["object"]["id"]
            for event in answer["data"]
            if event["data"]["object"].get("metadata", {}).get("payment_id") == payment_id
            and event["data"]["object"]["object"] == "payment_intent"
        }
        found = [json.dumps(event).encode() for event in answer["data"]]
        return [body for body in reversed(found) if any(str(intent).encode() in body for intent in intents)]

    return read


@pytest.fixture
def story(customer, at_stripe, events_of) -> Callable[[str, str], Story]:
    """A payment that is declined, processed, paid, partly refunded at the dashboard, and partly disputed."""

    def make(refund: str, dispute: str) -> Story:
        payment_id = customer.create().payment.id
        at_stripe("/sandbox/pay", payment_id=payment_id, outcome="decline")
        at_stripe("/sandbox/pay", payment_id=payment_id, card="pm_card_pendingRefund")
        made = at_stripe("/sandbox/refund", payment_id=payment_id, amount=REFUNDED // 10_000)
        at_stripe(f"/sandbox/refunds/{made['id']}/{refund}")
        at_stripe("/sandbox/dispute", payment_id=payment_id, amount=DISPUTED // 10_000)
        at_stripe("/sandbox/dispute", payment_id=payment_id, outcome=dispute)
        events = events_of(payment_id)
        processing = json.loads(events[0])
        processing |= {"id": f"evt_{uuid4().hex}", "type": "payment_intent.processing"}
        processing["data"]["object"]["status"] = "processing"
        return Story(payment_id, [*events, json.dumps(processing).encode()])

    return make


@pytest.fixture
def spend(customer, ledger, identities):
    def hold(amount_micros: int = SPENT) -> None:
        request = pb.HoldBudgetRequest(
            organization_id=str(customer.organization_id), campaign_id=str(uuid4()), amount_micros=amount_micros,
            currency_code="USD", idempotency_key=str(uuid4()),
        )  # fmt: skip
        ledger.HoldBudget(request, metadata=identities.service_headers("campaign-service"))

    return hold


@pytest.fixture
def deliver_all(gateway, customer, spend):
    """Delivers events in this order, with repeats, forged and stale copies among them.

    The customer spends as soon as there is a balance.
    """

    def deliver(payment_id: str, bodies: Sequence[bytes], dice: random.Random, *, is_spent: bool = False) -> None:
        for number, body in enumerate(bodies):
            if dice.random() < 0.3:
                wrong = dice.choice([signed(body, "whsec_other"), signed(body, age_s=301), {}, signed(body + b" ")])
                with pytest.raises(grpc.RpcError) as refused:
                    gateway.deliver("/webhooks/stripe", body, wrong)
                assert reason(refused.value) == "SIGNATURE_INVALID"
            gateway.deliver("/webhooks/stripe", body, signed(body))
            if dice.random() < 0.3:
                again = dice.choice(bodies[: number + 1])
                gateway.deliver("/webhooks/stripe", again, signed(again))
            if not is_spent and customer.get(payment_id).paid_micros:
                spend()
                is_spent = True

    return deliver


LEDGER_SAYS = """
SELECT coalesce(sum(
    CASE WHEN phase = 'PENDING' THEN amount_micros ELSE -coalesce(freed_micros, 0) END
    + CASE WHEN phase NOT IN ('POSTED', 'COMPLETED') THEN 0
        WHEN giver.kind = 'PROVIDER_CLEARING' THEN -amount_micros ELSE amount_micros END
), 0)
FROM transfers INNER JOIN accounts AS giver ON giver.id = debit_account_id
WHERE reference = %(payment)s AND transfers.kind = %(kind)s
"""


def agree(sql, payment_id: str) -> bool:
    """Whether a payment, its refunds and disputes, and the ledger have the same amounts."""
    figures = sql.execute(
        "SELECT refunded_micros, disputed_micros FROM payments WHERE id = %s", [payment_id]
    ).fetchone()
    rows = sql.execute(
        "SELECT (SELECT coalesce(sum(amount_micros), 0) FROM refunds"
        " WHERE payment_id = %(payment)s AND state <> 'FAILED'),"
        " (SELECT coalesce(sum(amount_micros), 0) FROM disputes WHERE payment_id = %(payment)s AND state <> 'WON')",
        {"payment": payment_id},
    ).fetchone()
    ledger = tuple(
        sql.execute(LEDGER_SAYS, {"payment": payment_id, "kind": kind}).fetchone()[0] for kind in ("REFUND", "DISPUTE")
    )
    return figures == rows == ledger


def outcome(customer, payment_id: str) -> tuple[int, ...]:
    payment, balance = customer.get(payment_id), customer.balance()
    assert balance.reserved_micros == 0
    return (
        payment.state, payment.paid_micros, payment.refunded_micros, payment.disputed_micros,
        balance.available_micros, balance.debt_micros,
    )  # fmt: skip


# The outcome of a refund and a dispute: state, paid, refunded, disputed, available and debt.
OUTCOMES = {
    ("succeed", "lose"): (pb.Payment.DISPUTED, PAID, REFUNDED, DISPUTED, 0, 100 * UNIT),
    ("succeed", "win"): (pb.Payment.SUCCEEDED, PAID, REFUNDED, 0, 0, 0),
    ("fail", "lose"): (pb.Payment.DISPUTED, PAID, 0, DISPUTED, 100 * UNIT, 0),
    ("fail", "win"): (pb.Payment.SUCCEEDED, PAID, 0, 0, 200 * UNIT, 0),
}
CORE = (
    "payment_intent.succeeded",
    "refund.created",
    "refund.updated",
    "charge.dispute.created",
    "charge.dispute.closed",
)


@pytest.mark.parametrize(
    ("ends", "first"),
    [(ends, first) for ends in OUTCOMES for first in CORE],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_payment_events_have_the_same_outcome_in_any_order(
    new_customer, customer, story, deliver_all, sound, sql, ends: tuple[str, str], first: str
) -> None:
    dice = random.Random(f"{ends}{first}")
    orders = [order for order in itertools.permutations(CORE) if order[0] == first]
    # A sample of the orders with this first event, larger for the outcome that moves the most money.
    for order in dice.sample(orders, 6 if ends == ("succeed", "lose") else 2):
        customer.__dict__.update(new_customer().__dict__)
        history = story(*ends)
        bodies = history.named(*order)
        others = [body for body in history.events if body not in bodies]
        for other in dice.sample(others, len(others)):
            bodies.insert(dice.randrange(len(bodies) + 1), other)
        deliver_all(history.payment_id, bodies, dice)
        assert outcome(customer, history.payment_id) == OUTCOMES[ends], order
        assert agree(sql, history.payment_id), order
        fees = "SELECT sum(amount_micros), count(*) FROM transfers WHERE kind = 'FEE' AND reference = %s"
        assert sql.execute(fees, [history.payment_id]).fetchone() == (15 * UNIT, 1), order
    assert sound()


@pytest.mark.parametrize(
    "ends", [("succeed", "lose"), ("fail", "lose"), ("succeed", "win"), ("fail", "win")], ids="+".join
)
def test_refund_and_dispute_events_have_the_same_outcome_in_any_order(
    new_customer, customer, at_stripe, events_of, deliver_all, spend, sql, channel, identities, access, sound,
    ends: tuple[str, str],
) -> None:  # fmt: skip
    person, organization_id = identities.person(), uuid4()
    access.grant(person, organization_id, Organization.PLATFORM, Permission.PAYMENTS_APPROVE)
    refunds = refunds_pb2_grpc.RefundServiceStub(channel)
    kinds = ("refund.created", f"refund.updated={'succeeded' if ends[0] == 'succeed' else 'failed'}", *CORE[3:])
    dice = random.Random(str(ends))
    for order in dice.sample(list(itertools.permutations(kinds)), 8):
        customer.__dict__.update(new_customer().__dict__)
        payment_id = customer.create().payment.id
        at_stripe("/sandbox/pay", payment_id=payment_id, card="pm_card_pendingRefund")
        assert customer.confirm(payment_id).state == pb.Payment.SUCCEEDED
        request = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, amount_micros=REFUNDED)
        refunds.RefundPayment(request, metadata=identities.headers(person, organization_id))
        spend()
        (known,) = (
            event["data"]["object"]["id"]
            for body in events_of(payment_id)
            if (event := json.loads(body))["type"] == "refund.created"
        )
        at_stripe(f"/sandbox/refunds/{known}/{ends[0]}")
        at_stripe("/sandbox/dispute", payment_id=payment_id, amount=DISPUTED // 10_000)
        at_stripe("/sandbox/dispute", payment_id=payment_id, outcome=ends[1])
        history = Story(payment_id, events_of(payment_id))
        deliver_all(payment_id, history.named(*order), dice, is_spent=True)
        assert outcome(customer, payment_id) == OUTCOMES[ends], order
        assert agree(sql, payment_id), order
    assert sound()


def test_job_finds_events_that_webhooks_missed(customer, story, settle, sound, sql) -> None:
    history = story("succeed", "lose")
    # So that the job does not poll it by its own id.
    sql.execute("UPDATE payments SET is_closed = TRUE WHERE id = %s", [history.payment_id])
    result = settle()
    assert result.success, result
    assert customer.get(history.payment_id).state == pb.Payment.DISPUTED
    assert customer.balance().available_micros == PAID - REFUNDED - DISPUTED
    (before,) = sql.execute("SELECT count(*) FROM webhook_events").fetchone()
    (until,) = sql.execute("SELECT read_until FROM webhook_cursors WHERE provider = 'STRIPE'").fetchone()
    assert datetime.now(UTC) - until < timedelta(minutes=1)
    settle()
    assert sql.execute("SELECT count(*) FROM webhook_events").fetchone() == (before,)
    assert sound()


def test_webhook_of_an_event_that_the_job_found_changes_nothing(customer, story, settle, gateway) -> None:
    history = story("succeed", "win")
    settle()
    money = customer.balance().available_micros
    assert money == PAID - REFUNDED
    for body in history.events:
        gateway.deliver("/webhooks/stripe", body, signed(body))
    assert customer.balance().available_micros == money


@pytest.mark.parametrize("is_first_look", [False, True])
def test_missed_events_are_complete_and_oldest_first(sandboxes, config, db, is_first_look: bool) -> None:
    client = sandboxes.stripe
    sandboxes.behave(client, drop_webhooks=True)
    began = datetime.now(UTC) - timedelta(days=20 if is_first_look else 0)
    if not is_first_look:
        # Stripe's times are whole seconds, so an older event must be at least one second older.
        eventually(lambda: datetime.now(UTC).timestamp() // 1 > began.timestamp() // 1 + 1)
        began = datetime.now(UTC)
    made = []
    for _ in range(105):
        intent = client.post("/v1/payment_intents", data={"amount": "100", "currency": "usd"}).json()
        client.post(f"/v1/payment_intents/{intent['id']}/cancel").raise_for_status()
        made.append(intent["id"])
    account = config.providers.by_name["STRIPE"].provider(db, SystemClock())
    missed = list(account.missed_events.missed_events(began))
    assert [json.loads(event.body)["data"]["object"]["id"] for event in missed][-105:] == made
    assert all(event.at is not None for event in missed)
    assert [event.at for event in missed] == sorted(event.at for event in missed)
    if not is_first_look:
        assert len(missed) == 105


def test_event_that_cannot_be_booked_is_stored_and_booked_later(
    customer, at_stripe, events_of, gateway, settle, sql
) -> None:
    payment_id = customer.create().payment.id
    at_stripe("/sandbox/pay", payment_id=payment_id)
    assert customer.confirm(payment_id).state == pb.Payment.SUCCEEDED
    at_stripe("/sandbox/refund", payment_id=payment_id, amount=12_345)
    (body,) = Story(payment_id, events_of(payment_id)).named("refund.created")
    event_id = json.loads(body)["id"]

    def is_booked() -> bool:
        found = sql.execute("SELECT booked_at FROM webhook_events WHERE event_id = %s", [event_id]).fetchone()
        return found[0] is not None

    sql.execute("ALTER TABLE refunds ADD CONSTRAINT refunds_broken CHECK (amount_micros <> 123450000) NOT VALID")
    try:
        gateway.deliver("/webhooks/stripe", body, signed(body))
        assert not is_booked()
        # Its partial changes are rolled back, and an event that fails again does not block the others.
        assert customer.balance().available_micros == PAID
        assert not settle().success
        assert not is_booked()
    finally:
        sql.execute("ALTER TABLE refunds DROP CONSTRAINT refunds_broken")
    assert settle().success
    assert is_booked()
    assert customer.balance().available_micros == PAID - 123_450_000
    settle()
    assert customer.balance().available_micros == PAID - 123_450_000


def test_event_that_needs_stripe_is_refused_while_stripe_is_down(
    customer, at_stripe, events_of, gateway, sandboxes, sql
) -> None:
    payment_id = customer.create().payment.id
    at_stripe("/sandbox/pay", payment_id=payment_id)
    at_stripe("/sandbox/dispute", payment_id=payment_id)
    (body,) = Story(payment_id, events_of(payment_id)).named("charge.dispute.created")
    sandboxes.behave(sandboxes.stripe, fail_next=1)
    with pytest.raises(grpc.RpcError) as refused:
        gateway.deliver("/webhooks/stripe", body, signed(body))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    stored = "SELECT count(*) FROM webhook_events WHERE event_id = %s"
    assert sql.execute(stored, [json.loads(body)["id"]]).fetchone() == (0,)
    gateway.deliver("/webhooks/stripe", body, signed(body))
    assert customer.get(payment_id).state == pb.Payment.DISPUTED


def test_event_about_an_unknown_payment_is_stored_and_acknowledged(
    customer, at_stripe, events_of, gateway, sql
) -> None:
    payment_id = customer.create().payment.id
    at_stripe("/sandbox/pay", payment_id=payment_id)
    at_stripe("/sandbox/refund", payment_id=payment_id, amount=100)
    at_stripe("/sandbox/dispute", payment_id=payment_id)
    events = Story(payment_id, events_of(payment_id)).named("refund.created", "charge.dispute.created")
    for body in events:
        for changes in ({"payment_intent": "pi_of_somebody_else"}, {"payment_intent": None}, {"status": "prevented"}):
            event = json.loads(body)
            event["id"] = f"evt_{uuid4().hex}"
            event["data"]["object"] |= changes
            changed = json.dumps(event).encode()
            gateway.deliver("/webhooks/stripe", changed, signed(changed))
            booked = "SELECT booked_at IS NOT NULL FROM webhook_events WHERE event_id = %s"
            assert sql.execute(booked, [event["id"]]).fetchone() == (True,)
    assert customer.get(payment_id).state == pb.Payment.PENDING


def test_refund_in_another_currency_is_not_debited_from_the_payment(
    customer, at_stripe, events_of, gateway, sound
) -> None:
    payment_id = customer.create().payment.id
    at_stripe("/sandbox/pay", payment_id=payment_id)
    customer.confirm(payment_id)
    at_stripe("/sandbox/refund", payment_id=payment_id, amount=100)
    at_stripe("/sandbox/dispute", payment_id=payment_id, amount=100)
    for body in Story(payment_id, events_of(payment_id)).named("refund.created", "charge.dispute.created"):
        event = json.loads(body)
        event["id"] = f"evt_{uuid4().hex}"
        event["data"]["object"]["currency"] = "jpy"
        changed = json.dumps(event).encode()
        gateway.deliver("/webhooks/stripe", changed, signed(changed))
    balance = customer.balance()
    assert (balance.available_micros, balance.reserved_micros, balance.debt_micros) == (PAID, 0, 0)
    assert sound()
