"""Deposits by bank transfer, from the stub to Wise and back by its webhooks, its statement, and staff."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import pytest
from adplatform.payment.v1 import payment_pb2 as pb

from adtesting import eventually
from payment_service.providers.wise.references import model as reference

ASKED = 500_000_000


@pytest.fixture
def ask(customer):
    """Opens a bank transfer payment of 500.00; returns its id and its reference."""

    def create(who=customer, **changes):
        made = who.create(provider=pb.WISE, **changes)
        return made.payment.id, made.wise.reference

    return create


@pytest.fixture
def transfer(sandboxes, gateway):
    """Sends a bank transfer; returns its number at Wise."""

    def send(text, amount=500, currency="USD"):
        body = {"currency": currency, "amount": amount, "reference": text, "sender_name": "Ada Zone"}
        return sandboxes.wise.post("/sandbox/incoming", json=body).raise_for_status().json()["referenceNumber"]

    return send


@pytest.fixture
def recall(sandboxes):
    return lambda number: sandboxes.wise.post(f"/sandbox/incoming/{number}/recall").raise_for_status()


@pytest.fixture
def webhooks(sandboxes):
    """Wise's webhooks about these movements."""

    def of(*numbers):
        known = sandboxes.wise.get("/sandbox/webhooks").raise_for_status().json()["webhooks"]
        return [one for one in known if one["subject"] in numbers]

    return of


@pytest.fixture
def is_delivered(webhooks):
    """Whether Wise has delivered every webhook of a movement, and that many."""

    def all_delivered(number, count=1):
        states = [one["state"] for one in webhooks(number)]
        return len(states) == count and set(states) == {"DELIVERED"}

    return all_delivered


@pytest.fixture
def spend(ledger, identities):
    """Spends from a customer's wallet."""

    def post(organization_id, amount_micros):
        campaign = {"organization_id": str(organization_id), "campaign_id": str(uuid4()), "currency_code": "USD"}
        moved = {**campaign, "amount_micros": amount_micros}
        metadata = identities.service_headers("campaign-service")
        ledger.HoldBudget(pb.HoldBudgetRequest(**moved, idempotency_key=str(uuid4())), metadata=metadata)
        item = pb.SpendItem(**moved, idempotency_key=str(uuid4()))
        (result,) = ledger.PostSpend(pb.PostSpendRequest(items=[item]), metadata=metadata).results
        assert result.posted_micros == amount_micros

    return post


def _credited(customer, *payment_ids):
    return lambda: all(customer.get(one).paid_micros for one in payment_ids)


def test_bank_transfer_is_credited_once_to_the_payment_it_references(customer, ask, transfer, sound):
    made = customer.create(provider=pb.WISE)
    assert (made.payment.state, made.payment.outcome) == (pb.Payment.PENDING, pb.Payment.OUTCOME_UNSPECIFIED)
    assert made.payment.expire_time.seconds - made.payment.create_time.seconds == 14 * 86_400
    assert (made.wise.routing_number, made.wise.account_number) == ("026008086", "8310456789")
    assert customer.get(made.payment.id).wise == made.wise
    other, _ = ask()
    noisy = made.wise.reference.lower().replace("-", " ")
    transfer(f"SVWZ+for ads/{noisy}/thank you")
    eventually(_credited(customer, made.payment.id))
    paid = customer.get(made.payment.id)
    assert (paid.state, paid.outcome, paid.paid_micros) == (pb.Payment.SUCCEEDED, pb.Payment.EXACT, ASKED)
    assert not paid.HasField("wise"), "there is nothing more to pay"
    (deposit,) = paid.deposits
    assert (deposit.state, deposit.provider, deposit.sender_name) == (pb.Deposit.CREDITED, pb.WISE, "Ada Zone")
    assert noisy in deposit.remittance_text
    assert customer.get(other).state == pb.Payment.PENDING
    assert customer.figures() == (ASKED, 0, 0)
    assert sound()


def test_duplicate_and_reordered_webhooks_credit_once(customer, ask, transfer, sandboxes, is_delivered, settle, sound):
    sandboxes.behave(sandboxes.wise, duplicate_webhooks=True, shuffle_webhooks=True)
    made = [ask() for _ in range(5)]
    numbers = [transfer(text) for _, text in made]
    eventually(lambda: all(is_delivered(number, 2) for number in numbers))
    for _ in range(2):
        settle()
    assert customer.figures() == (5 * ASKED, 0, 0)
    assert [customer.get(one).outcome for one, _ in made] == 5 * [pb.Payment.EXACT]
    assert sound()


def test_concurrent_deliveries_of_one_webhook_credit_once(customer, ask, transfer, gateway, sound):
    payment_id, text = ask()
    transfer(text)
    eventually(_credited(customer, payment_id))
    sent = [one for one in gateway.received if one[0] == "/webhooks/wise"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: gateway.deliver(*one), 8 * sent))
    assert customer.figures() == (ASKED, 0, 0)
    assert sound()


def test_deposit_of_a_missed_webhook_is_found_in_the_statement(
    customer, ask, transfer, sandboxes, webhooks, is_delivered, settle, sound
):
    sandboxes.behave(sandboxes.wise, drop_webhooks=True)
    made = [ask(currency_code=code) for code in ("EUR", "USD")]
    numbers = [transfer(made[0][1], currency="EUR"), transfer(made[1][1])]
    assert customer.figures() == (0, 0, 0)
    for _ in range(2):
        assert settle().success
    assert [customer.get(one).outcome for one, _ in made] == 2 * [pb.Payment.EXACT]
    dropped = [one["id"] for one in webhooks(*numbers)]
    for one in dropped:
        sandboxes.wise.post(f"/sandbox/webhooks/{one}/resend").raise_for_status()
    eventually(lambda: all(is_delivered(number) for number in numbers))
    assert (customer.balance("EUR").available_micros, customer.figures()) == (ASKED, (ASKED, 0, 0))
    assert sound()


def test_forged_webhook_is_refused_and_credits_nothing(customer, ask, transfer, gateway, sandboxes, settle):
    sandboxes.behave(sandboxes.wise, forge_webhooks=True)
    payment_id, text = ask()
    transfer(text)
    eventually(lambda: any(one[0] == "/webhooks/wise" for one in gateway.received))
    forged = next(one for one in gateway.received if one[0] == "/webhooks/wise")
    with pytest.raises(grpc.RpcError) as refused:
        gateway.deliver(*forged)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert customer.get(payment_id).paid_micros == 0
    settle()
    assert customer.get(payment_id).paid_micros == ASKED


def test_deposit_is_credited_once_wise_answers_again(customer, ask, transfer, sandboxes):
    payment_id, text = ask()
    sandboxes.behave(sandboxes.wise, fail_next=2)
    transfer(text)
    eventually(_credited(customer, payment_id))
    assert customer.figures() == (ASKED, 0, 0)


def test_underpayment_waits_for_the_rest_and_overpayment_is_credited(customer, ask, transfer, sound):
    payment_id, text = ask()
    transfer(text, 499.99)
    eventually(_credited(customer, payment_id))
    paid = customer.get(payment_id)
    assert (paid.state, paid.outcome, paid.paid_micros) == (pb.Payment.PROCESSING, pb.Payment.UNDERPAID, 499_990_000)
    assert paid.wise.reference == text
    transfer(text, 0.02)
    eventually(lambda: customer.get(payment_id).paid_micros == 500_010_000)
    paid = customer.get(payment_id)
    assert (paid.state, paid.outcome) == (pb.Payment.SUCCEEDED, pb.Payment.OVERPAID)
    transfer(text, 1)
    eventually(lambda: customer.get(payment_id).outcome == pb.Payment.REPEATED)
    assert customer.figures() == (501_010_000, 0, 0)
    assert [one.amount_micros for one in customer.get(payment_id).deposits] == [499_990_000, 20_000, 1_000_000]
    assert sound()


def test_late_deposit_is_credited(customer, ask, transfer, settle, sql):
    payment_id, text = ask()
    sql.execute("UPDATE payments SET expires_at = now() - interval '1 s' WHERE id = %s", (payment_id,))
    settle()
    assert customer.get(payment_id).state == pb.Payment.EXPIRED
    transfer(text)
    eventually(_credited(customer, payment_id))
    paid = customer.get(payment_id)
    assert (paid.outcome, paid.paid_micros) == (pb.Payment.LATE, ASKED)
    assert customer.figures() == (ASKED, 0, 0)


def test_confirming_a_payment_reads_the_statement(customer, ask, transfer, sandboxes):
    sandboxes.behave(sandboxes.wise, drop_webhooks=True)
    payment_id, text = ask()
    assert customer.confirm(payment_id).state == pb.Payment.PENDING
    transfer(text)
    assert customer.confirm(payment_id).state == pb.Payment.SUCCEEDED


def test_deposit_in_another_currency_is_not_credited_to_the_payment(customer, ask, transfer, is_delivered, sound):
    payment_id, text = ask()
    number = transfer(text, currency="EUR")
    eventually(lambda: is_delivered(number))
    assert customer.get(payment_id).state == pb.Payment.PENDING
    assert (customer.figures(), customer.balance("EUR").available_micros) == ((0, 0, 0), 0)
    assert sound()


def test_mistyped_reference_credits_no_payment(customer, ask, transfer, is_delivered):
    payment_id, text = ask()
    wrong = next(sign for sign in reference.ALPHABET if sign != text[5])
    number = transfer(text[:5] + wrong + text[6:])
    eventually(lambda: is_delivered(number))
    assert customer.get(payment_id).paid_micros == 0


def test_recalled_deposit_that_was_spent_is_a_debt_that_the_next_deposit_pays(
    customer, ask, transfer, recall, spend, sound
):
    payment_id, text = ask()
    number = transfer(text)
    eventually(_credited(customer, payment_id))
    spend(customer.organization_id, 400_000_000)
    recall(number)
    eventually(lambda: customer.balance().debt_micros)
    balance = customer.balance()
    assert (balance.available_micros, balance.spent_micros, balance.debt_micros) == (0, 400_000_000, 400_000_000)
    back = customer.get(payment_id)
    assert (back.paid_micros, back.deposits[0].state) == (0, pb.Deposit.REVERSED)
    second, text = ask()
    transfer(text)
    eventually(_credited(customer, second))
    assert (customer.balance().available_micros, customer.balance().debt_micros) == (100_000_000, 0)
    assert sound()


def test_recalled_deposit_is_not_credited_again_by_repeated_events(
    customer, ask, transfer, recall, gateway, is_delivered, settle, sound
):
    payment_id, text = ask()
    number = transfer(text)
    eventually(_credited(customer, payment_id))
    recall(number)
    eventually(lambda: is_delivered(number, 2))
    for path, body, headers in [one for one in gateway.received if one[0] == "/webhooks/wise"]:
        gateway.deliver(path, body, {**headers, "x-delivery-id": str(uuid4())})
    settle()
    assert (customer.get(payment_id).paid_micros, customer.figures()) == (0, (0, 0, 0))
    assert sound()


def test_recall_that_arrives_before_its_credit_leaves_no_balance(
    customer, ask, transfer, recall, sandboxes, is_delivered, settle, sound
):
    sandboxes.behave(sandboxes.wise, shuffle_webhooks=True)
    payment_id, text = ask()
    number = transfer(text)
    recall(number)
    eventually(lambda: is_delivered(number, 2))
    settle()
    assert (customer.get(payment_id).paid_micros, customer.figures()) == (0, (0, 0, 0))
    assert sound()


def test_currency_without_a_bank_account_is_refused(customer, gateway):
    with pytest.raises(grpc.RpcError, match="JPY cannot be received"):
        customer.create(provider=pb.WISE, currency_code="JPY")
