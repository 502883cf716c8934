"""payment-service's ledger, as campaigns use it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Protocol
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc

from adlib.errors import FailedPrecondition, RemoteError, Unavailable
from adlib.idempotency import KeyReused
from adlib.rpc import Remote

MOST_ITEMS = 500
_PAGE_SIZE = 200


class HoldRefused(FailedPrecondition):
    """The ledger sets nothing aside."""


class InsufficientFunds(HoldRefused):
    """The wallet's available balance is too small."""

    reason = ErrorReason.INSUFFICIENT_FUNDS


class OrganizationInDebt(HoldRefused):
    """The organization owes money, and spends nothing until that is paid."""

    reason = ErrorReason.ORGANIZATION_IN_DEBT


_REFUSALS = {kind.reason: kind for kind in (InsufficientFunds, OrganizationInDebt)}


@dataclass(frozen=True, slots=True)
class Share:
    """A publisher's part of what was spent in its zone."""

    organization_id: UUID
    publisher_id: UUID
    zone_id: UUID
    basis_points: int


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount that a campaign has spent; `share` where it was in a publisher's zone."""

    key: str
    organization_id: UUID
    campaign_id: UUID
    amount_micros: int
    currency_code: str
    share: Share | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What the ledger took under a key; refused: for another amount or publisher than it was asked for now."""

    micros: int
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """What the ledger holds for a campaign."""

    organization_id: UUID
    campaign_id: UUID
    currency_code: str
    held_micros: int


class Payments(Protocol):
    """The ledger. Every call may be repeated: its key makes the repeat change nothing."""

    def hold(self, organization_id: UUID, campaign_id: UUID, amount_micros: int, currency_code: str, key: str) -> None:
        """Sets the amount aside for the campaign; INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT."""
        ...

    def held(self, organization_id: UUID, campaign_id: UUID, currency_code: str) -> int:
        """What is set aside for the campaign; ORGANIZATION_IN_DEBT where its organization may not spend it."""
        ...

    def release(
        self, organization_id: UUID, campaign_id: UUID, currency_code: str, key: str, amount_micros: int | None = None
    ) -> None:
        """Gives back what is left of what was set aside, or at most this much of it."""
        ...

    def holds(self) -> Iterator[Sequence[Hold]]:
        """What is set aside for every organization's campaigns, in pages of up to 200. For jobs alone."""
        ...

    def post(self, spends: Sequence[Spend]) -> Mapping[str, Taken]:
        """Takes up to 500 amounts from what is set aside; by key, how much of each could be taken."""
        ...


class RemotePayments:
    """The ledger in payment-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = payment_pb2_grpc.LedgerServiceStub(remote.channel)

    def hold(self, organization_id: UUID, campaign_id: UUID, amount_micros: int, currency_code: str, key: str) -> None:
        """Sets the amount aside for the campaign; INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT."""
        request = pb.HoldBudgetRequest(
            organization_id=str(organization_id),
            campaign_id=str(campaign_id),
            amount_micros=amount_micros,
            currency_code=currency_code,
            idempotency_key=key,
        )
        self._hold(request)

    def held(self, organization_id: UUID, campaign_id: UUID, currency_code: str) -> int:
        """What is set aside for the campaign; ORGANIZATION_IN_DEBT where its organization may not spend it."""
        request = pb.HoldBudgetRequest(
            organization_id=str(organization_id),
            campaign_id=str(campaign_id),
            amount_micros=0,
            currency_code=currency_code,
            idempotency_key="held",
        )
        return self._hold(request)

    def _hold(self, request: pb.HoldBudgetRequest) -> int:
        try:
            return int(self._remote.call(self._stub.HoldBudget, request).held_micros)
        except RemoteError as error:
            kind = _REFUSALS.get(error.reason)
            if kind is None:
                raise
            refused = kind(error.message)
            refused.metadata = error.metadata
            raise refused from error

    def release(
        self, organization_id: UUID, campaign_id: UUID, currency_code: str, key: str, amount_micros: int | None = None
    ) -> None:
        """Gives back what is left of what was set aside, or at most this much of it."""
        request = pb.ReleaseHoldRequest(
            organization_id=str(organization_id),
            campaign_id=str(campaign_id),
            currency_code=currency_code,
            idempotency_key=key,
            amount_micros=amount_micros,
        )
        self._remote.call(self._stub.ReleaseHold, request)

    def holds(self) -> Iterator[Sequence[Hold]]:
        """What is set aside for every organization's campaigns, in pages of up to 200. For jobs alone."""
        token = ""
        while True:
            page = self._remote.call(self._stub.ListHolds, pb.ListHoldsRequest(page_size=_PAGE_SIZE, page_token=token))
            yield [
                Hold(UUID(one.organization_id), UUID(one.campaign_id), one.currency_code, one.held_micros)
                for one in page.holds
            ]
            if not (token := page.next_page_token):
                return

    def post(self, spends: Sequence[Spend]) -> Mapping[str, Taken]:
        """Takes up to 500 amounts from what is set aside; by key, how much of each could be taken."""
        answer = self._remote.call(self._stub.PostSpend, pb.PostSpendRequest(items=[_item(one) for one in spends]))
        return {result.idempotency_key: _taken(result) for result in answer.results}


def _item(spend: Spend) -> pb.SpendItem:
    return pb.SpendItem(
        organization_id=str(spend.organization_id),
        campaign_id=str(spend.campaign_id),
        amount_micros=spend.amount_micros,
        currency_code=spend.currency_code,
        idempotency_key=spend.key,
        publisher=share_pb(spend.share) if spend.share else None,
    )


def _taken(result: pb.SpendResult) -> Taken:
    if result.refusal:
        return Taken(result.first_posted_micros, is_refused=True)
    return Taken(result.posted_micros)


def share_pb(share: Share) -> pb.PublisherShare:
    """The share as the contract has it."""
    return pb.PublisherShare(
        organization_id=str(share.organization_id),
        publisher_id=str(share.publisher_id),
        zone_id=str(share.zone_id),
        share_basis_points=share.basis_points,
    )


class FakePayments:
    """A ledger in memory, for tests: one wallet for everybody.

    `is_down`: does not answer; `loses_answers`: does what it is asked and then does not answer.
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

    def hold(self, organization_id: UUID, campaign_id: UUID, amount_micros: int, currency_code: str, key: str) -> None:
        """Sets the amount aside for the campaign; INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT."""
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

    def held(self, _organization_id: UUID, campaign_id: UUID, _currency_code: str) -> int:
        """What is set aside for the campaign; ORGANIZATION_IN_DEBT."""
        self._check()
        self._check_debt()
        self._answer()
        return self.held_micros.get(campaign_id, 0)

    def release(
        self, _organization_id: UUID, campaign_id: UUID, _currency_code: str, key: str, amount_micros: int | None = None
    ) -> None:
        """Gives back what is left of what was set aside, or at most this much of it."""
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

    def holds(self) -> Iterator[Sequence[Hold]]:
        """What is set aside for campaigns, in pages of two."""
        self._answer()
        self._check()
        held = [Hold(holder[0], id, holder[1], self.held_micros.get(id, 0)) for id, holder in self.holders.items()]
        held = [one for one in held if one.held_micros]
        for start in range(0, len(held), 2):
            yield held[start : start + 2]

    def post(self, spends: Sequence[Spend]) -> Mapping[str, Taken]:
        """Takes the amounts from what is set aside; by key, how much of each could be taken."""
        self._check()
        taken: dict[str, Taken] = {}
        for spend in spends:
            try:
                with self._once(spend.key, spend) as is_new:
                    if is_new:
                        held = self.held_micros.get(spend.campaign_id, 0)
                        self._answers[spend.key] = min(held, spend.amount_micros)
                        self.held_micros[spend.campaign_id] = held - self._answers[spend.key]
                        self.spends.append(spend)
                taken[spend.key] = Taken(self._answers[spend.key])
            except KeyReused:
                taken[spend.key] = Taken(self._answers[spend.key], is_refused=True)
        self._answer()
        return taken

    @contextmanager
    def _once(self, key: str, content: object) -> Iterator[bool]:
        """Whether the key is new; one call at a time. IDEMPOTENCY_KEY_REUSED where it was for something else."""
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
