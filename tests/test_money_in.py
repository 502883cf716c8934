"""Deposits by card, chain and bank, refunds, disputes and debts, through the gateway."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.people import owner, staff

from adctl.client import Client, Refused
from adctl.state import State
from adtesting import eventually

pytestmark = pytest.mark.xdist_group("platform")

AMOUNT_MICROS = 100_000_000


@pytest.fixture
def advertiser(platform: State) -> Client:
    return owner(platform)


@pytest.fixture
def admin(platform: State) -> Client:
    return staff(platform)


@pytest.fixture
def sandboxes(platform: State) -> Iterator["Sandboxes"]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield Sandboxes(platform, http)


class Sandboxes:
    """Actions of customers, banks and chains, by the sandboxes' control APIs."""

    def __init__(self, platform: State, http: httpx.Client) -> None:
        self._platform = platform
        self._http = http

    def act(self, sandbox: str, path: str, **body: Any) -> Any:
        answer = self._http.post(f"{self._platform.url(sandbox)}{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()


def pay_by(advertiser: Client, provider: str, **more: Any) -> dict[str, Any]:
    asked = {"amountMicros": str(AMOUNT_MICROS), "currencyCode": "USD", "provider": provider, **more}
    created: dict[str, Any] = advertiser.post("/payments/create", asked)
    return created


def becomes(advertiser: Client, payment_id: str, state: str, within_s: float = 20, **figures: int) -> dict[str, Any]:
    """Waits until the payment has this state and these figures, and returns it."""

    def there() -> dict[str, Any] | None:
        payment: dict[str, Any] = advertiser.get(f"/payments/{payment_id}")
        is_it = payment["state"] == state and all(int(payment[name]) == value for name, value in figures.items())
        return payment if is_it else None

    return eventually(there, within_s=within_s)


def figures(advertiser: Client) -> tuple[int, ...]:
    """The amounts available, held, reserved and owed; checks that the statement adds up to them."""
    names = ("availableMicros", "heldMicros", "reservedMicros", "debtMicros")
    balance = advertiser.get("/billing/balance")
    lines = advertiser.get("/billing/statement", pageSize=200)["lines"]
    for name in names:
        delta = name.replace("Micros", "DeltaMicros")
        assert int(balance[name]) == sum(int(line[delta]) for line in lines), name
    return tuple(int(balance[name]) for name in names)


def paid_by_card(advertiser: Client, sandboxes: Sandboxes) -> str:
    payment_id: str = pay_by(advertiser, "STRIPE")["payment"]["id"]
    sandboxes.act("stripe-sandbox", "/sandbox/pay", payment_id=payment_id)
    becomes(advertiser, payment_id, "SUCCEEDED")
    return payment_id


def hold_some(advertiser: Client, micros: int) -> None:
    campaign = advertiser.post(
        "/campaigns",
        {
            "name": "Spring",
            "budgetMicros": str(micros),
            "targetUrl": "https://shop.example.com/",
            "bid": {"model": "CPM", "priceMicros": "5000000"},
        },
    )
    advertiser.post(f"/campaigns/{campaign['id']}/start")


def test_partial_refunds_cannot_exceed_the_unspent_deposit(
    advertiser: Client, admin: Client, sandboxes: Sandboxes
) -> None:
    payment_id = paid_by_card(advertiser, sandboxes)
    path = f"/payments/{payment_id}/refund"
    with pytest.raises(Refused) as refused:
        advertiser.post(path, {})
    assert (refused.value.status, refused.value.reason) == (403, "PERMISSION_MISSING")
    part = admin.post(path, {"amountMicros": "30000000", "reason": "Half a week late"}, idempotency_key="one")
    assert admin.post(path, {"amountMicros": "30000000", "reason": "Half a week late"}, idempotency_key="one") == part
    becomes(advertiser, payment_id, "SUCCEEDED", refundedMicros=30_000_000)
    eventually(lambda: figures(advertiser) == (70_000_000, 0, 0, 0))
    hold_some(advertiser, 50_000_000)
    with pytest.raises(Refused) as refused:
        admin.post(path, {"amountMicros": "20000001"})
    assert (refused.value.status, refused.value.reason) == (400, "REFUND_TOO_LARGE")
    admin.post(path, {"amountMicros": "20000000"})
    eventually(lambda: figures(advertiser) == (0, 50_000_000, 0, 0))
    shown = advertiser.get(f"/payments/{payment_id}/refunds")["refunds"]
    assert [(one["amountMicros"], one["reason"]) for one in shown] == [
        ("20000000", ""),
        ("30000000", "Half a week late"),
    ]


def test_lost_dispute_on_held_money_is_repaid_by_the_hold(advertiser: Client, sandboxes: Sandboxes) -> None:
    payment_id = paid_by_card(advertiser, sandboxes)
    hold_some(advertiser, 60_000_000)
    sandboxes.act("stripe-sandbox", "/sandbox/dispute", payment_id=payment_id, outcome="open")
    becomes(advertiser, payment_id, "DISPUTED", disputedMicros=AMOUNT_MICROS)
    assert figures(advertiser) == (0, 60_000_000, 40_000_000, 0)
    sandboxes.act("stripe-sandbox", "/sandbox/dispute", payment_id=payment_id, outcome="lose")
    # Nothing was delivered, so the campaign's hold repays the whole debt.
    eventually(lambda: figures(advertiser) == (0, 0, 0, 0), within_s=20)
    (campaign,) = advertiser.get("/campaigns")["campaigns"]
    assert (campaign["state"], campaign["stateReasons"]) == ("PAUSED", ["PAYMENT_DISPUTED"])
    with pytest.raises(Refused) as refused:
        hold_some(advertiser, 1_000_000)
    assert refused.value.reason == "INSUFFICIENT_FUNDS"
    paid_by_card(advertiser, sandboxes)
    assert figures(advertiser) == (AMOUNT_MICROS, 0, 0, 0)
    advertiser.post(f"/campaigns/{campaign['id']}/start")
    assert figures(advertiser) == (40_000_000, 60_000_000, 0, 0)


def test_coins_are_credited_at_their_depth_and_reversed_by_a_reorganization(
    advertiser: Client, sandboxes: Sandboxes
) -> None:
    created = pay_by(advertiser, "CRYPTO", crypto={"token": "USDC"})
    payment_id, instructions = created["payment"]["id"], created["crypto"]
    assert instructions["amount"] == "100000000"
    sandboxes.act(
        "chain-sandbox", "/sandbox/chain/pay", to=instructions["address"], coin="USDC", smallest=instructions["amount"]
    )
    paid = becomes(advertiser, payment_id, "SUCCEEDED", paidMicros=AMOUNT_MICROS)
    (deposit,) = paid["deposits"]
    assert deposit["chain"]["confirmations"] >= instructions["requiredConfirmations"]
    assert figures(advertiser) == (AMOUNT_MICROS, 0, 0, 0)
    hold_some(advertiser, 60_000_000)
    sandboxes.act(
        "chain-sandbox",
        "/sandbox/chain/reorg",
        depth=instructions["requiredConfirmations"] + 3,
        keep_transactions=False,
    )
    becomes(advertiser, payment_id, "PENDING", paidMicros=0)
    # The campaign is paused, and its hold repays the debt.
    eventually(lambda: figures(advertiser) == (0, 0, 0, 0), within_s=20)
    (campaign,) = advertiser.get("/campaigns")["campaigns"]
    assert (campaign["state"], campaign["stateReasons"]) == ("PAUSED", ["PAYMENT_DISPUTED"])
    sandboxes.act(
        "chain-sandbox", "/sandbox/chain/pay", to=instructions["address"], coin="USDC", smallest=instructions["amount"]
    )
    becomes(advertiser, payment_id, "SUCCEEDED", paidMicros=AMOUNT_MICROS)
    assert figures(advertiser) == (AMOUNT_MICROS, 0, 0, 0)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"chainId": "56"}, "CHAIN_NOT_AVAILABLE"),
        ({"token": "DOGE"}, "TOKEN_NOT_AVAILABLE"),
        ({"refundAddress": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}, "ADDRESS_INVALID"),
        ({"refundAddress": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"}, "ADDRESS_CHECKSUM_INVALID"),
    ],
    ids=["chain", "token", "address", "checksum"],
)
def test_invalid_chain_token_or_address_is_refused_by_reason(
    advertiser: Client, choice: dict[str, str], reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        pay_by(advertiser, "CRYPTO", crypto=choice)
    assert (refused.value.status, refused.value.reason) == (400, reason)
    assert not advertiser.get("/payments")["payments"]


def test_bank_transfer_is_matched_by_its_reference(advertiser: Client, sandboxes: Sandboxes) -> None:
    created = pay_by(advertiser, "WISE")
    reference = created["wise"]["reference"]
    sandboxes.act(
        "wise-sandbox", "/sandbox/incoming", currency="USD", amount=100, reference=f"inv 7 {reference.lower()}"
    )
    paid = becomes(advertiser, created["payment"]["id"], "SUCCEEDED", paidMicros=AMOUNT_MICROS)
    assert paid["outcome"] == "EXACT"
    assert figures(advertiser) == (AMOUNT_MICROS, 0, 0, 0)


def test_unmatched_deposit_waits_until_staff_assign_it(advertiser: Client, admin: Client, sandboxes: Sandboxes) -> None:
    created = pay_by(advertiser, "WISE")
    arrived = sandboxes.act(
        "wise-sandbox", "/sandbox/incoming", currency="USD", amount=99, reference="for the ads", sender_name="Ada"
    )
    assert arrived

    def unmatched() -> list[dict[str, Any]]:
        return [
            one
            for one in admin.get("/billing/unmatched")["deposits"]
            if one["amountMicros"] == "99000000" and one["remittanceText"] == "for the ads"
        ]

    (deposit,) = eventually(unmatched)
    with pytest.raises(Refused) as refused:
        advertiser.get("/billing/unmatched")
    assert refused.value.reason == "PERMISSION_MISSING"
    admin.post(f"/billing/unmatched/{deposit['id']}/assign", {"paymentId": created["payment"]["id"]})
    paid = becomes(advertiser, created["payment"]["id"], "PROCESSING", paidMicros=99_000_000)
    assert paid["outcome"] == "UNDERPAID"
    assert not unmatched()
    assert figures(advertiser) == (99_000_000, 0, 0, 0)


def test_receipt_is_numbered_and_available_as_html_and_pdf(
    platform: State, advertiser: Client, sandboxes: Sandboxes
) -> None:
    unpaid = pay_by(advertiser, "STRIPE")["payment"]["id"]
    with pytest.raises(Refused) as refused:
        advertiser.get(f"/payments/{unpaid}/receipt")
    assert refused.value.reason == "PAYMENT_STATE_INVALID"
    first, second = (paid_by_card(advertiser, sandboxes) for _ in range(2))
    for payment_id, number in ((first, "R-000001"), (second, "R-000002")):
        page = advertiser.get(f"/payments/{payment_id}/receipt")
        assert "<html" in page
        assert number in page
        assert payment_id in page
        assert "Acme" in page
    assert advertiser.get(f"/payments/{first}/receipt", format="PDF").startswith("%PDF-")
    with pytest.raises(Refused) as refused:
        owner(platform).get(f"/payments/{first}/receipt")
    assert refused.value.reason == "PAYMENT_NOT_FOUND"
