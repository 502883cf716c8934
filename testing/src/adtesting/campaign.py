"""Fakes of the systems that campaign-service calls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from uuid import UUID

from typing_extensions import override

from adlib.errors import Unavailable
from adlib.idempotency import KeyReused
from campaign_service.campaigns.model import Campaign
from campaign_service.clients.payment import Hold, InsufficientFunds, OrganizationInDebt, Payments, Posted, Spend
from campaign_service.clients.publisher import Owner, Publishers
from campaign_service.networks.protocol import Network, NetworkRejected, NetworkUnavailable
from campaign_service.stats.model import Figures, Slot


@dataclass(slots=True)
class FakeCampaign:
    """A campaign at the fake network."""

    name: str
    campaign: Campaign
    is_playing: bool = False
    budget_micros: int = 0
    figures: dict[Slot, Figures] = field(default_factory=dict)


class FakeNetwork(Network):
    """A network in memory.

    `is_down`: it does not answer. `loses_answers`: it executes calls, but does not answer. `refuses`: the reason with
    which it rejects every change, after calling `on_refusal`; empty: it rejects none.
    """

    code = "TRAFFIC_ENGINE"
    currency_code = "USD"

    def __init__(self) -> None:
        self.campaigns: dict[str, FakeCampaign] = {}
        self.is_down = False
        self.loses_answers = False
        self.refuses = ""
        self.on_refusal: Callable[[], None] = lambda: None

    def report(self, external_id: str, day: date, zone_id: str, figures: Figures) -> None:
        """Sets the cumulative figures of the day and zone."""
        self.campaigns[external_id].figures[day, zone_id] = figures

    @override
    def find(self, name: str) -> str | None:
        self._answer()
        return next((id for id, one in self.campaigns.items() if one.name == name), None)

    @override
    def create(self, name: str, campaign: Campaign) -> str:
        self._check()
        external_id = str(len(self.campaigns) + 1)
        self.campaigns[external_id] = FakeCampaign(name, campaign, budget_micros=campaign.budget_micros)
        self._answer()
        return external_id

    @override
    def play(self, external_id: str) -> None:
        self._find(external_id).is_playing = True
        self._answer()

    @override
    def stop(self, external_id: str) -> None:
        self._find(external_id).is_playing = False
        self._answer()

    @override
    def set_budget(self, external_id: str, budget_micros: int) -> None:
        self._find(external_id).budget_micros = budget_micros
        self._answer()

    @override
    def budget_micros(self, external_id: str) -> int:
        self._answer()
        if external_id not in self.campaigns:
            raise NetworkRejected(self.code, "it does not know the campaign")
        return self.campaigns[external_id].budget_micros

    @override
    def statistics(self, external_ids: Sequence[str], first: date, last: date) -> Mapping[str, Mapping[Slot, Figures]]:
        self._answer()
        return {
            id: {slot: figures for slot, figures in self.campaigns[id].figures.items() if first <= slot[0] <= last}
            for id in external_ids
            if id in self.campaigns
        }

    def _find(self, external_id: str) -> FakeCampaign:
        self._check()
        if external_id not in self.campaigns:
            raise NetworkRejected(self.code, "it does not know the campaign")
        return self.campaigns[external_id]

    def _check(self) -> None:
        if self.is_down:
            raise NetworkUnavailable(self.code)
        if self.refuses:
            self.on_refusal()
            raise NetworkRejected(self.code, self.refuses)

    def _answer(self) -> None:
        if self.is_down or self.loses_answers:
            raise NetworkUnavailable(self.code)

    @override
    def close(self) -> None:
        pass


class FakePayments(Payments):
    """A ledger in memory, with one wallet for all organizations.

    `is_down`: it does not answer. `loses_answers`: it executes calls, but does not answer.
    """

    def __init__(self, available_micros: int = 0) -> None:
        self.available_micros = available_micros
        self.held_micros: dict[UUID, int] = {}
        self.holders: dict[UUID, tuple[UUID, str]] = {}
        self.spends: list[Spend] = []
        self.debt_micros = 0
        self.is_down = False
        self.loses_answers = False
        self._answers: dict[str, int] = {}
        self._contents: dict[str, object] = {}
        self._lock = Lock()

    @override
    def hold(self, organization_id: UUID, campaign_id: UUID, amount_micros: int, currency_code: str, key: str) -> None:
        self._check()
        with self._once(key, (campaign_id, amount_micros, currency_code)) as is_new:
            self._check_debt()
            if is_new:
                if amount_micros > self.available_micros:
                    raise InsufficientFunds(
                        "the wallet is too small", availableMicros=self.available_micros, requiredMicros=amount_micros
                    )
                self.available_micros -= amount_micros
                self.held_micros[campaign_id] = self.held_micros.get(campaign_id, 0) + amount_micros
                self.holders[campaign_id] = (organization_id, currency_code)
                self._answers[key] = amount_micros
        self._answer()

    @override
    def held(self, organization_id: UUID, campaign_id: UUID, currency_code: str) -> int:
        self._check()
        self._check_debt()
        self._answer()
        return self.held_micros.get(campaign_id, 0)

    @override
    def release(
        self, organization_id: UUID, campaign_id: UUID, currency_code: str, key: str, amount_micros: int | None = None
    ) -> None:
        self._check()
        with self._once(key, (campaign_id, amount_micros)) as is_new:
            if is_new:
                held = self.held_micros.pop(campaign_id, 0)
                self._answers[key] = held if amount_micros is None else min(held, amount_micros)
                self.held_micros[campaign_id] = held - self._answers[key]
                repaid_micros = min(self.debt_micros, self._answers[key])
                self.debt_micros -= repaid_micros
                self.available_micros += self._answers[key] - repaid_micros
        self._answer()

    @override
    def holds(self) -> Iterator[Sequence[Hold]]:
        self._answer()
        self._check()
        held = [Hold(holder[0], id, holder[1], self.held_micros.get(id, 0)) for id, holder in self.holders.items()]
        held = [one for one in held if one.held_micros]
        for start in range(0, len(held), 2):
            yield held[start : start + 2]

    @override
    def post(self, spends: Sequence[Spend]) -> Mapping[str, Posted]:
        self._check()
        posted: dict[str, Posted] = {}
        for spend in spends:
            try:
                with self._once(spend.key, spend) as is_new:
                    if is_new:
                        held = self.held_micros.get(spend.campaign_id, 0)
                        self._answers[spend.key] = min(held, spend.amount_micros)
                        self.held_micros[spend.campaign_id] = held - self._answers[spend.key]
                        self.spends.append(spend)
                posted[spend.key] = Posted(self._answers[spend.key])
            except KeyReused:
                posted[spend.key] = Posted(self._answers[spend.key], is_refused=True)
        self._answer()
        return posted

    @contextmanager
    def _once(self, key: str, content: object) -> Iterator[bool]:
        """Whether the key is new. Runs one call at a time; IDEMPOTENCY_KEY_REUSED where the key has other content."""
        with self._lock:
            is_new = key not in self._answers
            if not is_new and self._contents.get(key) != content:
                raise KeyReused
            yield is_new
            self._contents.setdefault(key, content)

    def _check_debt(self) -> None:
        if self.debt_micros:
            raise OrganizationInDebt("the organization owes money", debtMicros=self.debt_micros)

    def _check(self) -> None:
        if self.is_down:
            raise Unavailable("payment-service does not answer; try again")

    def _answer(self) -> None:
        if self.loses_answers:
            raise Unavailable("payment-service does not answer; try again")


class FakePublishers(Publishers):
    """A zone directory in memory. `is_down`: does not answer."""

    def __init__(self) -> None:
        self.known: dict[UUID, Owner] = {}
        self.is_down = False

    @override
    def owners(self, zone_ids: Sequence[UUID]) -> Mapping[UUID, Owner]:
        if self.is_down:
            raise Unavailable("publisher-service does not answer; try again")
        return {id: self.known[id] for id in zone_ids if id in self.known}
