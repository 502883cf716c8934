"""The demo journey through the public API: an advertiser's deposit is spent and becomes a publisher's payout.

`adctl demo` and a test run it; each step checks the figures that the platform returns.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from adctl.client import Client, Refused
from adctl.demo.signup import sign_up
from adctl.keys import OPERATOR, Keys
from adctl.operations import jobs, ledger
from adctl.sandboxes.stripe import pay_intent
from adctl.sandboxes.traffic import send_traffic
from adctl.state import State

_MICROS = 1_000_000
_PASSWORD = "correct horse battery staple"  # noqa: S105  # of accounts that exist only in this journey
_TIMEOUT_S = 5.0
_BANK_TIMEOUT_S = 15.0

_DEPOSIT = 500 * _MICROS
_BUDGET = 100 * _MICROS
_CPM = 5 * _MICROS
_TRAFFIC = {"impressions": 1_000, "clicks": 50, "conversions": 5}
_ZONE_TRAFFIC = {"impressions": 2_000, "clicks": 20, "conversions": 2}


class StepFailed(Exception):
    """A figure is wrong; the text names it."""


@dataclass(frozen=True)
class Step:
    """A step: its title, and a function that runs it and returns lines about the result."""

    title: str
    run: Callable[[], list[str]]


def money(micros: int | str) -> str:
    """Return an amount in units, such as 1,234.50."""
    return f"{int(micros) / _MICROS:,.2f}"


def expect(what: str, found: object, wanted: object) -> None:
    """Raise StepFailed unless the figure is the expected one."""
    if found != wanted:
        raise StepFailed(f"{what} is {found!r}; it should be {wanted!r}")


def eventually(what: str, probe: Callable[[], object], wanted: object, within_s: float = _TIMEOUT_S) -> float:
    """Poll until the figure is the expected one and return the seconds that took; StepFailed after `within_s`."""
    started_at = time.monotonic()
    while (found := probe()) != wanted:
        if time.monotonic() - started_at > within_s:
            raise StepFailed(f"{what} is {found!r} after {within_s:.0f} s; it should be {wanted!r}")
        time.sleep(0.1)
    return time.monotonic() - started_at


class Journey:
    """The people of the journey and the ids of the resources that they created."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._tag = uuid4().hex[:8]
        self.advertiser = Client(state.gateway_url)
        self.publisher = Client(state.gateway_url)
        self.admin = Client(state.gateway_url)
        self.campaign_id = ""
        self.pixel_id = ""
        self.publisher_id = ""
        self.zone_id = ""
        self.payout_id = ""

    def steps(self) -> Iterator[Step]:
        """Yield the steps, in order."""
        yield Step("an advertiser signs up, verifies the e-mail and signs in", self.sign_up)
        yield Step("500.00 are paid by card, and Stripe's signed webhook credits the wallet", self.deposit)
        yield Step("a campaign is created and started: 100.00 are held", self.start_campaign)
        yield Step("1,000 impressions, 50 clicks and 5 conversions are tracked exactly", self.track)
        yield Step("the network's spend is taken from the hold, once, however often it is synced", self.sync)
        yield Step("a publisher signs up and is approved", self.approve_publisher)
        yield Step("traffic in the publisher's zone earns it 70 % of the spend", self.earn)
        yield Step("a payout is requested, approved by staff and paid by bank transfer", self.pay_out)
        yield Step("the ledger sums to zero", self.verify)

    def sign_up(self) -> list[str]:
        """Sign up, open the link in the mail, sign in and read the profile."""
        email = f"ada-{self._tag}@example.com"
        sign_up(self._state, self.advertiser, email=email, password=_PASSWORD, name="Ada", organizationName="Acme")
        (membership,) = self.advertiser.log_in(email, _PASSWORD)["memberships"]
        expect("the role", membership["role"], "owner")
        return [f"{email} is {membership['role']} of {membership['organizationName']}"]

    def deposit(self) -> list[str]:
        """Create a payment, pay it at the sandbox and wait for the wallet."""
        created = self.advertiser.post(
            "/payments/create",
            {"amountMicros": str(_DEPOSIT), "currencyCode": "USD", "provider": "STRIPE"},
            idempotency_key=f"deposit-{self._tag}",
        )
        payment_id = created["payment"]["id"]
        expect("the payment's state", created["payment"]["state"], "PENDING")
        expect("whether there is a client secret", bool(created["stripe"]["clientSecret"]), True)
        pay_intent(self._state, payment_id)
        took = eventually("the available balance", partial(self._balance, "availableMicros"), _DEPOSIT)
        paid = self.advertiser.get(f"/payments/{payment_id}")
        expect("the payment's state", paid["state"], "SUCCEEDED")
        return [f"payment {payment_id} is {paid['state']}", f"available {money(_DEPOSIT)} USD after {took:.1f} s"]

    def start_campaign(self) -> list[str]:
        """Create a campaign and start it twice: the second start changes nothing."""
        campaign = self.advertiser.post(
            "/campaigns",
            {
                "name": f"Spring {self._tag}",
                "budgetMicros": str(_BUDGET),
                "targetUrl": "https://shop.example.com/spring?from=ads",
                "bid": {"model": "CPM", "priceMicros": str(_CPM)},
            },
            idempotency_key=f"campaign-{self._tag}",
        )
        expect("the new campaign's state", campaign["state"], "DRAFT")
        self.campaign_id = campaign["id"]
        for _ in range(2):
            started = self.advertiser.post(f"/campaigns/{self.campaign_id}/start")
            expect("the started campaign's state", started["state"], "ACTIVE")
        expect("the held balance", self._balance("heldMicros"), _BUDGET)
        expect("the available balance", self._balance("availableMicros"), _DEPOSIT - _BUDGET)
        return [f"campaign {self.campaign_id} is {started['state']}", f"held {money(_BUDGET)}"]

    def track(self) -> list[str]:
        """Create a pixel, send traffic and wait for the exact figures."""
        pixel = self.advertiser.post("/pixels", {"campaignId": self.campaign_id, "name": "shop"})
        self.pixel_id = pixel["id"]
        self._send(_TRAFFIC, repeat_conversions=1)
        took = eventually("the campaign's analytics", self._tracked, _TRAFFIC)
        return [f"pixel {self.pixel_id}", f"{_TRAFFIC} after {took:.1f} s; a repeated conversion was counted once"]

    def sync(self) -> list[str]:
        """Sync the statistics twice: the second run changes nothing."""
        spend = _TRAFFIC["impressions"] * _CPM // 1000
        for _ in range(2):
            self._run_job("sync-stats")
            expect("the spent balance", self._balance("spentMicros"), spend)
            expect("the held balance", self._balance("heldMicros"), _BUDGET - spend)
        stats = self.advertiser.get(f"/campaigns/{self.campaign_id}/stats")["total"]
        expect("the network's impressions", int(stats["impressions"]), _TRAFFIC["impressions"])
        eventually("the spend in analytics", partial(self._analytics, "spendMicros"), spend)
        return [f"spent {money(spend)}, held {money(_BUDGET - spend)}"]

    def approve_publisher(self) -> list[str]:
        """Register a publisher, approve it as the platform's admin, and add a site and a zone."""
        email = f"grace-{self._tag}@example.com"
        sign_up(
            self._state,
            self.publisher,
            email=email,
            password=_PASSWORD,
            name="Grace",
            organizationName="Gazette",
            organizationKind="PUBLISHER",
        )
        made = self.publisher.post("/publishers", {"name": "Gazette", "email": email})
        self.publisher_id = made["id"]
        expect("the new publisher's state", made["state"], "PENDING")
        self._expect_refusal(self.publisher, f"/publishers/{self.publisher_id}/approve", 403)
        self.admin.log_in(self._state.admin_email, self._state.admin_password)
        approved = self.admin.post(f"/publishers/{self.publisher_id}/approve")
        expect("the publisher's state", approved["state"], "APPROVED")
        site = self.publisher.post(
            f"/publishers/{self.publisher_id}/sites", {"name": "Gazette", "url": "https://gazette.example.com"}
        )
        zone = self.publisher.post(
            f"/publishers/{self.publisher_id}/zones",
            {"siteId": site["id"], "name": "Front page", "width": 300, "height": 250},
        )
        self.zone_id = zone["id"]
        return [f"publisher {self.publisher_id} is {approved['state']}", f"zone {self.zone_id}"]

    def earn(self) -> list[str]:
        """Send traffic in the zone, sync, and check the publisher's share."""
        before = self._balance("spentMicros")
        self._send(_ZONE_TRAFFIC, zone_id=self.zone_id)
        self._run_job("sync-stats")
        spend = _ZONE_TRAFFIC["impressions"] * _CPM // 1000
        expect("the spend in the zone", self._balance("spentMicros") - before, spend)
        share = spend * 70 // 100
        expect("the publisher's balance", self._publisher_balance(), (0, share, 0))
        everything = {key: _TRAFFIC[key] + _ZONE_TRAFFIC[key] for key in _TRAFFIC}
        eventually("the campaign's analytics", self._tracked, everything)
        return [f"{money(spend)} were spent in the zone; the publisher earned {money(share)}"]

    def pay_out(self) -> list[str]:
        """Request a payout of the whole balance, approve it as staff and wait for the bank."""
        share = self._publisher_balance()[1]
        payout = self.publisher.post(
            "/publishers/payout",
            {
                "publisherId": self.publisher_id,
                "amountMicros": str(share),
                "currencyCode": "USD",
                "destination": {
                    "accountHolderName": "Grace Hopper",
                    "unitedStates": {"routingNumber": "021000021", "accountNumber": "123456789"},
                },
            },
            idempotency_key=f"payout-{self._tag}",
        )
        self.payout_id = payout["id"]
        expect("the payout's state", payout["state"], "PENDING_APPROVAL")
        expect("the publisher's balance", self._publisher_balance(), (share, 0, 0))
        self._expect_refusal(self.publisher, f"/payouts/{self.payout_id}/approve", 403)
        self.admin.post(f"/payouts/{self.payout_id}/approve")
        took = eventually("the payout's state", self._payout_state, "PAID", _BANK_TIMEOUT_S)
        expect("the publisher's balance", self._publisher_balance(), (0, 0, share))
        return [f"payout {self.payout_id} of {money(share)} is PAID after {took:.1f} s"]

    def verify(self) -> list[str]:
        """Recompute every balance."""
        found = ledger.verify(self._state)
        expect("whether there are accounts", bool(found), True)
        for books in found:
            expect(f"the sum of all {books.currency_code} accounts", books.sum_micros, 0)
            expect(f"the difference to recomputed {books.currency_code} balances", books.difference_micros, 0)
        return [ledger.summary(books) for books in found]

    def _balance(self, name: str) -> int:
        return int(self.advertiser.get("/billing/balance")[name])

    def _analytics(self, name: str) -> int:
        return int(self.advertiser.get(f"/analytics/campaigns/{self.campaign_id}")["totals"][name])

    def _tracked(self) -> dict[str, int]:
        totals = self.advertiser.get(f"/analytics/campaigns/{self.campaign_id}")["totals"]
        return {name: int(totals[name]) for name in _TRAFFIC}

    def _publisher_balance(self) -> tuple[int, int, int]:
        """Return pending, available and paid micros."""
        (row,) = self.publisher.get("/publishers/balances")["balances"]
        return int(row["pendingMicros"]), int(row["availableMicros"]), int(row["paidMicros"])

    def _payout_state(self) -> object:
        return self.publisher.get(f"/payouts/{self.payout_id}")["state"]

    def _send(self, figures: dict[str, int], **more: Any) -> None:
        options: dict[str, Any] = {**figures, **more}
        report = send_traffic(self._state, self.campaign_id, **options)
        if not report.ok:
            raise StepFailed(f"some of the traffic was not accepted: {report}")

    def _run_job(self, name: str) -> None:
        token = partial(Keys(self._state.paths.keys).service_token, OPERATOR)
        result = jobs.run(self._state.gateway_url, jobs.named(name), token)
        if not result.get("success"):
            raise StepFailed(f"the job {name} failed: {result.get('message')}")

    @staticmethod
    def _expect_refusal(client: Client, path: str, status: int) -> None:
        try:
            client.post(path)
        except Refused as refused:
            expect(f"the status of POST {path}", refused.status, status)
        else:
            raise StepFailed(f"POST {path} was allowed; it should be refused with {status}")
