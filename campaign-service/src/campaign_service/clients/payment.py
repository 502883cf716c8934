"""The client of payment-service's ledger."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc
from typing_extensions import override

from adlib.errors import FailedPrecondition, RemoteError
from adlib.rpc import Remote

MAX_SPENDS = 500
_PAGE_SIZE = 200


class HoldRefused(FailedPrecondition):
    """The ledger refused to hold money."""


class InsufficientFunds(HoldRefused):
    """The wallet's available balance is too small."""

    reason = ErrorReason.INSUFFICIENT_FUNDS


class OrganizationInDebt(HoldRefused):
    """The organization owes money and cannot spend until the debt is paid."""

    reason = ErrorReason.ORGANIZATION_IN_DEBT


# By the reason that the ledger returns.
_REFUSALS = {kind.reason: kind for kind in (InsufficientFunds, OrganizationInDebt)}


@dataclass(frozen=True, slots=True)
class Share:
    """A publisher's share of the spend in its zone; 7000 basis points are 70 %."""

    organization_id: UUID
    publisher_id: UUID
    zone_id: UUID
    basis_points: int


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount that a campaign has spent; it has a `share` where a publisher's zone earned it."""

    key: str
    organization_id: UUID
    campaign_id: UUID
    amount_micros: int
    currency_code: str
    share: Share | None


@dataclass(frozen=True, slots=True)
class Posted:
    """The amount that the ledger posted under a key; `is_refused`: the key was first used with other content."""

    micros: int
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A campaign's hold in the ledger."""

    organization_id: UUID
    campaign_id: UUID
    currency_code: str
    held_micros: int


class Payments(Protocol):
    """The ledger. A call that changes something has an idempotency key and may be repeated. UNAVAILABLE."""

    def hold(self, organization_id: UUID, campaign_id: UUID, amount_micros: int, currency_code: str, key: str) -> None:
        """Holds the amount for the campaign; INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT."""
        ...

    def held(self, organization_id: UUID, campaign_id: UUID, currency_code: str) -> int:
        """The amount held for the campaign, in micros; ORGANIZATION_IN_DEBT."""
        ...

    def release(
        self, organization_id: UUID, campaign_id: UUID, currency_code: str, key: str, amount_micros: int | None = None
    ) -> None:
        """Releases the rest of the hold, or at most `amount_micros` of it."""
        ...

    def holds(self) -> Iterator[Sequence[Hold]]:
        """Every tenant's holds, in pages of up to 200. For jobs only."""
        ...

    def post(self, spends: Sequence[Spend]) -> Mapping[str, Posted]:
        """Posts up to 500 amounts against their holds; returns the posted amounts by key."""
        ...


class RemotePayments(Payments):
    """The ledger, over gRPC."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = payment_pb2_grpc.LedgerServiceStub(remote.channel)

    @override
    def hold(self, organization_id: UUID, campaign_id: UUID, amount_micros: int, currency_code: str, key: str) -> None:
        request = pb.HoldBudgetRequest(
            organization_id=str(organization_id),
            campaign_id=str(campaign_id),
            amount_micros=amount_micros,
            currency_code=currency_code,
            idempotency_key=key,
        )
        self._hold(request)

    @override
    def held(self, organization_id: UUID, campaign_id: UUID, currency_code: str) -> int:
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

    @override
    def release(
        self, organization_id: UUID, campaign_id: UUID, currency_code: str, key: str, amount_micros: int | None = None
    ) -> None:
        request = pb.ReleaseHoldRequest(
            organization_id=str(organization_id),
            campaign_id=str(campaign_id),
            currency_code=currency_code,
            idempotency_key=key,
            amount_micros=amount_micros,
        )
        self._remote.call(self._stub.ReleaseHold, request)

    @override
    def holds(self) -> Iterator[Sequence[Hold]]:
        token = ""
        while True:
            page = self._remote.call(self._stub.ListHolds, pb.ListHoldsRequest(page_size=_PAGE_SIZE, page_token=token))
            yield [
                Hold(UUID(one.organization_id), UUID(one.campaign_id), one.currency_code, one.held_micros)
                for one in page.holds
            ]
            if not (token := page.next_page_token):
                return

    @override
    def post(self, spends: Sequence[Spend]) -> Mapping[str, Posted]:
        answer = self._remote.call(self._stub.PostSpend, pb.PostSpendRequest(items=[_item(one) for one in spends]))
        return {result.idempotency_key: _posted(result) for result in answer.results}


def _item(spend: Spend) -> pb.SpendItem:
    return pb.SpendItem(
        organization_id=str(spend.organization_id),
        campaign_id=str(spend.campaign_id),
        amount_micros=spend.amount_micros,
        currency_code=spend.currency_code,
        idempotency_key=spend.key,
        publisher=share_pb(spend.share) if spend.share else None,
    )


def _posted(result: pb.SpendResult) -> Posted:
    if result.refusal:
        return Posted(result.first_posted_micros, is_refused=True)
    return Posted(result.posted_micros)


def share_pb(share: Share) -> pb.PublisherShare:
    """Converts the share to the contract's message."""
    return pb.PublisherShare(
        organization_id=str(share.organization_id),
        publisher_id=str(share.publisher_id),
        zone_id=str(share.zone_id),
        share_basis_points=share.basis_points,
    )
