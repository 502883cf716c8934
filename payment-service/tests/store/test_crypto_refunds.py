"""A manual refund must be confirmed on the chain, sent to the customer, large enough, and claimed once."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from payment_service.payments.model import Payment
from payment_service.providers.model import ProviderRejected, RefundNotSeen, RefundOrder

CONFIRMATIONS, USD = 4, 1_000_000
CUSTOMER = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
OTHER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"


def paid(shop, token: str = "USDC", **choice: object) -> Payment:
    payment = shop.open(100 * USD, token, **{"refund_address": CUSTOMER, **choice})
    shop.chain.pay(payment.instructions["address"], coin=token, smallest=payment.instructions["amount"])
    shop.chain.mine(CONFIRMATIONS)
    shop.poll()
    return shop.get(payment)


def refund(shop, payment: Payment, sent_as: str, micros: int = 40 * USD, refund_id: UUID | None = None) -> str:
    report = shop.refunds.refund(payment, RefundOrder(refund_id or uuid4(), micros, sent_as))
    assert (report.payment_id, report.amount_micros) == (payment.id, micros)
    return report.state


def sent(shop, to: str = CUSTOMER, amount: str = "40", coin: str = "USDC", blocks: int = CONFIRMATIONS) -> str:
    hash = shop.chain.pay(to, amount, coin)
    shop.chain.mine(blocks)
    return hash


def test_manual_refund_is_verified_and_idempotent(shop) -> None:
    payment, refund_id = paid(shop), uuid4()
    hash = sent(shop)
    for _ in range(2):
        assert refund(shop, payment, hash, refund_id=refund_id) == "SUCCEEDED"
    assert refund(shop, payment, f" {sent(shop).upper().replace('0X', '0x')} ") == "SUCCEEDED"


def test_refund_in_the_native_coin_uses_the_payments_rate(shop) -> None:
    payment = paid(shop, "ETH")
    assert refund(shop, payment, sent(shop, amount="0.016", coin="ETH")) == "SUCCEEDED"
    with pytest.raises(RefundNotSeen, match="is worth 15996800639872026"):
        refund(shop, payment, sent(shop, amount="0.015", coin="ETH"))


def test_transaction_can_be_claimed_by_one_refund(shop) -> None:
    payment, another = paid(shop), paid(shop)
    hash = sent(shop)
    assert refund(shop, payment, hash) == "SUCCEEDED"
    for again in (payment, another):
        with pytest.raises(RefundNotSeen, match="another refund"):
            refund(shop, again, hash)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"to": OTHER}, "moved 0 of USDC"),
        ({"amount": "39.999999"}, "moved 39999999 of USDC"),
        ({"coin": "USDT"}, "moved 0 of USDC"),
        ({"coin": "FAKE"}, "moved 0 of USDC"),
        ({"coin": "ETH"}, "moved 0 of USDC"),
        ({"blocks": CONFIRMATIONS - 1}, "3 of 4 confirmations"),
        ({"blocks": 1}, "1 of 4 confirmations"),
    ],
    ids=["to another", "too little", "another token", "a fake token", "the native coin", "too early", "just sent"],
)
def test_transaction_that_is_not_the_refund_is_refused(shop, how: dict[str, object], why: str) -> None:
    payment = paid(shop)
    with pytest.raises(RefundNotSeen, match=why):
        refund(shop, payment, sent(shop, **how))


def test_unknown_and_failed_transactions_are_refused(shop) -> None:
    payment = paid(shop)
    waiting = shop.chain.pay(CUSTOMER, "40")
    for sent_as in ("0x" + "ab" * 32, waiting):
        with pytest.raises(RefundNotSeen, match="not a transaction on Sandbox"):
            refund(shop, payment, sent_as)
    for nonsense in ("", "paid by hand", "0x12", "ab" * 32):
        with pytest.raises(RefundNotSeen, match="must be the transaction's hash"):
            refund(shop, payment, nonsense)
    failed = shop.chain.pay(CUSTOMER, smallest=str(2**255))
    shop.chain.mine(CONFIRMATIONS)
    with pytest.raises(RefundNotSeen, match="failed"):
        refund(shop, payment, failed)


def test_transaction_from_before_the_payment_is_refused(shop) -> None:
    payment, hash = paid(shop), sent(shop)
    # The times of the sandbox's blocks may be ahead of the clock.
    later = replace(payment, created_at=payment.created_at + timedelta(days=1))
    with pytest.raises(RefundNotSeen, match="before the payment"):
        refund(shop, later, hash)


def test_refund_without_a_refund_address_is_refused(shop) -> None:
    payment = paid(shop, refund_address="")
    with pytest.raises(ProviderRejected, match="named no address"):
        refund(shop, payment, sent(shop))
