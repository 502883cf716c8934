"""Payouts, from a publisher's earnings to Wise and back by signed webhooks."""

import base64
import json
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import grpc
import pytest
import redis
from adplatform.events.v1.events_pb2 import Event, PayoutSettled
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib.db import Database
from adlib.ids import new_id
from adtesting import Identities, eventually
from payment_service.ledger import store
from payment_service.ledger.model import Account, Kind, Transfer, payable

# Every run of the job lists the missed events of Stripe and Wise.
SOURCES = 2
EARNED = 100_000_000
AMOUNT = 70_250_000
IBAN = "DE89370400440532013000"


def info(error: pytest.ExceptionInfo[grpc.RpcError]) -> ErrorInfo:
    found = ErrorInfo()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error.value).details)
    return found


@dataclass
class Publisher:
    """A publisher who has earned 100, and publisher-service's calls for it."""

    ledger: payment_pb2_grpc.LedgerServiceStub
    headers: list[tuple[str, str]]
    publisher_id: UUID = field(default_factory=uuid4)
    organization_id: UUID = field(default_factory=uuid4)

    def reserve(self, payout_id: str, amount_micros: int = AMOUNT, currency_code: str = "USD") -> None:
        request = pb.ReservePayoutRequest(
            payout_id=payout_id,
            publisher_id=str(self.publisher_id),
            organization_id=str(self.organization_id),
            amount_micros=amount_micros,
            currency_code=currency_code,
        )
        self.ledger.ReservePayout(request, metadata=self.headers)

    def send(self, payout_id: str, iban: str = IBAN, **changes: object) -> None:
        account = pb.BankAccount(account_holder_name="Ada Zone", **(changes or {"iban": iban}))
        self.ledger.SendPayout(pb.SendPayoutRequest(payout_id=payout_id, destination=account), metadata=self.headers)

    def cancel(self, payout_id: str) -> None:
        self.ledger.CancelPayout(pb.CancelPayoutRequest(payout_id=payout_id), metadata=self.headers)

    def figures(self) -> tuple[int, int, int]:
        """Available, pending, paid."""
        request = pb.ListPublisherBalancesRequest(publisher_ids=[str(self.publisher_id)])
        (one,) = self.ledger.ListPublisherBalances(request, metadata=self.headers).balances
        assert (one.publisher_id, one.currency_code) == (str(self.publisher_id), "USD")
        return one.available_micros, one.pending_micros, one.paid_micros


@pytest.fixture
def publisher(ledger, identities: Identities, db: Database, gateway) -> Publisher:
    made = Publisher(ledger, identities.service_headers("publisher-service"))
    clearing = Account(Kind.PROVIDER_CLEARING, "USD", None, "STRIPE")
    earned = payable(made.organization_id, made.publisher_id, "USD")
    with db.transaction() as tx:
        store.lock(tx, [clearing, earned])
        store.post(tx, [Transfer("PUBLISHER_SHARE", clearing, earned, EARNED, uuid4(), f"earned:{uuid4()}")], new_id)
    return made


@pytest.fixture
def payout_id() -> str:
    return str(uuid4())


@pytest.fixture
def outcomes(service_redis_url: str, payout_id: str):
    """The outcomes that are published to publisher-service, in order."""
    client = redis.Redis.from_url(service_redis_url)

    def published() -> list[int]:
        events = [Event.FromString(fields[b"m"]) for _, fields in client.xrange("bus:payment")]
        return [event.payout_settled.outcome for event in events if event.payout_settled.payout_id == payout_id]

    yield published
    client.close()


def sandbox_transfer(sandboxes, payout_id: str) -> dict[str, object] | None:
    answer = sandboxes.wise.get(f"/sandbox/transfers/{payout_id}")
    return answer.json() if answer.is_success else None


def test_sent_payout_is_paid(publisher, sandboxes, payout_id, outcomes, sound) -> None:
    publisher.reserve(payout_id)
    assert publisher.figures() == (EARNED - AMOUNT, AMOUNT, 0)
    publisher.send(payout_id)
    eventually(lambda: publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT))
    transfer = sandbox_transfer(sandboxes, payout_id)
    assert (transfer["targetValue"], transfer["targetCurrency"]) == (70.25, "USD")
    eventually(lambda: outcomes() == [PayoutSettled.PROCESSING, PayoutSettled.PAID])
    assert sound()


def test_payout_to_an_american_account_is_paid(publisher, sandboxes, payout_id) -> None:
    publisher.reserve(payout_id)
    account = pb.BankAccount.UnitedStates(routing_number="021000021", account_number="12345678")
    publisher.send(payout_id, united_states=account)
    eventually(lambda: publisher.figures()[2] == AMOUNT)


def test_every_payout_call_is_idempotent(publisher, sandboxes, payout_id, outcomes) -> None:
    for _ in range(2):
        publisher.reserve(payout_id)
    assert publisher.figures() == (EARNED - AMOUNT, AMOUNT, 0)
    for _ in range(2):
        publisher.send(payout_id)
    eventually(lambda: publisher.figures()[2] == AMOUNT)
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    assert publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT)
    other = str(uuid4())
    publisher.reserve(other, 1_000_000)
    for _ in range(2):
        publisher.cancel(other)
    assert publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT)


def test_payout_id_cannot_be_reused(publisher, payout_id) -> None:
    publisher.reserve(payout_id)
    with pytest.raises(grpc.RpcError) as refused:
        publisher.reserve(payout_id, 1_000_000)
    assert info(refused).reason == "IDEMPOTENCY_KEY_REUSED"


def test_payout_cannot_exceed_earnings(publisher, payout_id) -> None:
    publisher.reserve(payout_id)
    with pytest.raises(grpc.RpcError) as refused:
        publisher.reserve(str(uuid4()))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info(refused).reason == "INSUFFICIENT_FUNDS"
    assert info(refused).metadata["availableMicros"] == str(EARNED - AMOUNT)


@pytest.mark.parametrize(("amount", "code"), [(1_000_001, "USD"), (1_000_000, "XXX"), (0, "USD")])
def test_amount_that_no_bank_can_send_is_not_reserved(publisher, payout_id, amount, code) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        publisher.reserve(payout_id, amount, code)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert publisher.figures() == (EARNED, 0, 0)


def test_cancelled_payout_cannot_be_sent_nor_a_sent_one_cancelled(publisher, sandboxes, payout_id) -> None:
    publisher.reserve(payout_id)
    publisher.cancel(payout_id)
    assert publisher.figures() == (EARNED, 0, 0)
    with pytest.raises(grpc.RpcError) as refused:
        publisher.send(payout_id)
    assert (info(refused).reason, info(refused).metadata["state"]) == ("PAYOUT_STATE_INVALID", "CANCELLED")
    sent = str(uuid4())
    publisher.reserve(sent)
    publisher.send(sent)
    with pytest.raises(grpc.RpcError) as refused:
        publisher.cancel(sent)
    assert info(refused).reason == "PAYOUT_STATE_INVALID"
    for call in (publisher.send, publisher.cancel):
        with pytest.raises(grpc.RpcError) as refused:
            call(str(uuid4()))
        assert info(refused).reason == "PAYOUT_NOT_FOUND"


def test_bounced_payout_is_returned_even_after_it_was_paid(publisher, sandboxes, payout_id, outcomes, sound) -> None:
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    eventually(lambda: publisher.figures()[2] == AMOUNT)
    sandboxes.wise.post(f"/sandbox/transfers/{payout_id}/bounce").raise_for_status()
    eventually(lambda: publisher.figures() == (EARNED, 0, 0))
    eventually(lambda: sandbox_transfer(sandboxes, payout_id)["status"] == "funds_refunded")
    eventually(lambda: outcomes() == [PayoutSettled.PROCESSING, PayoutSettled.PAID, PayoutSettled.FAILED])
    publisher.send(payout_id)
    assert publisher.figures() == (EARNED, 0, 0)
    assert sound()


def test_bank_details_that_wise_rejects_fail_the_payout(publisher, sandboxes, payout_id, outcomes) -> None:
    publisher.reserve(payout_id)
    publisher.send(payout_id, iban="DE89370400440532013001")
    eventually(lambda: outcomes() == [PayoutSettled.FAILED])
    assert publisher.figures() == (EARNED, 0, 0)
    assert sandbox_transfer(sandboxes, payout_id) is None


@pytest.mark.parametrize("lose_answers", [False, True])
@pytest.mark.parametrize("failures", [1, 3])
def test_payout_is_retried_while_wise_fails_and_paid_once(
    publisher, sandboxes, payout_id, sql, settle, outcomes, sound, lose_answers: bool, failures: int
) -> None:
    sandboxes.behave(sandboxes.wise, fail_next=failures, lose_answers=lose_answers)
    publisher.reserve(payout_id)
    publisher.send(payout_id)

    def paid() -> bool:
        # As if the pause between attempts had passed.
        sql.execute("UPDATE payouts SET next_attempt_at = now() WHERE state = 'SENDING' AND attempts > 0")
        settle()
        return publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT)

    eventually(paid, within_s=20)
    eventually(lambda: outcomes().count(PayoutSettled.PAID) == 1)
    assert sound()


@pytest.mark.parametrize("steps_kept", [3, 2, 1, 0])
def test_crash_after_any_step_pays_once(
    publisher, sandboxes, gateway, payout_id, sql, settle, sound, steps_kept: int
) -> None:
    gateway.open = False
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    eventually(lambda: sql.execute("SELECT state FROM payouts").fetchone() == ("PROCESSING",))
    (transfer_id,) = sql.execute("SELECT transfer_id FROM payouts").fetchone()
    sql.execute(
        """
        UPDATE payouts SET state = 'SENDING', next_attempt_at = now(),
          recipient_id = CASE WHEN %(kept)s > 0 THEN recipient_id END,
          quote_id = CASE WHEN %(kept)s > 1 THEN quote_id END,
          transfer_id = CASE WHEN %(kept)s > 2 THEN transfer_id END
        """,
        {"kept": steps_kept},
    )

    def paid() -> bool:
        sql.execute("UPDATE payouts SET next_attempt_at = now() WHERE state = 'SENDING' AND attempts > 1")
        settle()
        return publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT)

    eventually(paid, within_s=20)
    assert sql.execute("SELECT transfer_id FROM payouts").fetchone() == (transfer_id,)
    assert sound()


def test_payout_waits_while_the_balance_is_short(publisher, sandboxes, payout_id, sql, settle) -> None:
    sandboxes.wise.put("/sandbox/balance", json={"currency": "USD", "amount": 1}).raise_for_status()
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    eventually(lambda: sql.execute("SELECT transfer_id FROM payouts").fetchone()[0])
    eventually(lambda: sql.execute("SELECT next_attempt_at < now() + interval '50 s' FROM payouts").fetchone()[0])
    assert publisher.figures() == (EARNED - AMOUNT, AMOUNT, 0)
    sandboxes.wise.put("/sandbox/balance", json={"currency": "USD", "amount": 1_000_000}).raise_for_status()
    sql.execute("UPDATE payouts SET next_attempt_at = now()")
    assert settle().success
    eventually(lambda: publisher.figures()[2] == AMOUNT)


def test_job_settles_payouts_whose_webhooks_were_missed(publisher, sandboxes, gateway, payout_id, settle) -> None:
    gateway.open = False
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    eventually(lambda: (sandbox_transfer(sandboxes, payout_id) or {}).get("status") == "outgoing_payment_sent")
    assert publisher.figures() == (EARNED - AMOUNT, AMOUNT, 0)
    eventually(lambda: settle().stats.total == 1 + SOURCES)
    assert publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT)
    assert settle().stats.total == SOURCES


def test_duplicate_and_reordered_payout_webhooks_have_one_outcome(
    publisher, sandboxes, gateway, payout_id, outcomes, sound
) -> None:
    gateway.open = False
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    eventually(lambda: (sandbox_transfer(sandboxes, payout_id) or {}).get("status") == "outgoing_payment_sent")
    sandboxes.wise.post(f"/sandbox/transfers/{payout_id}/bounce").raise_for_status()
    transfer_id = sandbox_transfer(sandboxes, payout_id)["id"]
    eventually(lambda: len([one for one in gateway.received if f'"id": {transfer_id}'.encode() in one[1]]) == 8)
    mine = [one for one in gateway.received if f'"id": {transfer_id}'.encode() in one[1]]
    for one in (mine[3], mine[2], *reversed(mine), *mine):
        gateway.deliver(*one)
    assert publisher.figures() == (EARNED, 0, 0)
    eventually(lambda: outcomes() == [PayoutSettled.PROCESSING, PayoutSettled.PAID, PayoutSettled.FAILED])
    assert sound()


@pytest.mark.parametrize("how", ["unsigned", "forged", "of another body", "no base64"])
def test_webhook_without_wises_signature_is_refused(
    publisher, sandboxes, gateway, payout_id, sql, config, wise_key: rsa.RSAPrivateKey, how: str
) -> None:
    gateway.open = False
    publisher.reserve(payout_id)
    publisher.send(payout_id)
    eventually(lambda: sql.execute("SELECT state FROM payouts").fetchone() == ("PROCESSING",))
    (transfer_id,) = sql.execute("SELECT transfer_id FROM payouts").fetchone()
    resource = {"id": int(transfer_id), "profile_id": config.providers.by_name["WISE"].profile_id}
    body = json.dumps(
        {
            "data": {"resource": resource, "current_state": "outgoing_payment_sent"},
            "event_type": "transfers#state-change",
        }
    ).encode()

    def sign(key: rsa.RSAPrivateKey, signed: bytes) -> str:
        return base64.b64encode(key.sign(signed, padding.PKCS1v15(), hashes.SHA256())).decode()

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signature = {
        "unsigned": "",
        "forged": sign(other, body),
        "of another body": sign(wise_key, body + b" "),
        "no base64": "%%%",
    }[how]
    headers = {"x-signature-sha256": signature, "x-delivery-id": str(uuid4())}
    with pytest.raises(grpc.RpcError) as refused:
        gateway.deliver("/webhooks/wise", body, headers)
    assert info(refused).reason == "SIGNATURE_INVALID"
    assert publisher.figures() == (EARNED - AMOUNT, AMOUNT, 0)
    gateway.deliver("/webhooks/wise", body, {**headers, "x-signature-sha256": sign(wise_key, body)})
    # The delivery's id is not signed: the same event with another id changes nothing.
    again = {"x-signature-sha256": sign(wise_key, body), "x-delivery-id": str(uuid4())}
    gateway.deliver("/webhooks/wise", body, again)
    assert publisher.figures() == (EARNED - AMOUNT, 0, AMOUNT)
