"""LedgerService of the contract: holds, spend and payouts, for other services."""

from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.idempotency import Idempotency, KeyReused
from adlib.paging import page
from adlib.rpc import NO_ORGANIZATION, Call
from payment_service.balances.service import BalanceService
from payment_service.holds.model import Earner, Escrow, Hold, Spend
from payment_service.holds.service import HoldService
from payment_service.payouts.service import PayoutService
from payment_service.providers.model import BankAccount


class LedgerServicer:
    """Serves LedgerService."""

    contract = pb.DESCRIPTOR.services_by_name["LedgerService"]

    def __init__(self, holds: HoldService, balances: BalanceService, payouts: PayoutService) -> None:
        self._holds = holds
        self._balances = balances
        self._payouts = payouts

    def HoldBudget(self, request: pb.HoldBudgetRequest, _call: Call) -> pb.HoldBudgetResponse:
        return pb.HoldBudgetResponse(
            held_micros=self._holds.hold(_escrow(request), request.amount_micros, request.idempotency_key)
        )

    def ReleaseHold(self, request: pb.ReleaseHoldRequest, call: Call) -> pb.ReleaseHoldResponse:
        escrow = _escrow(request)
        idempotency = Idempotency(
            escrow.organization_id, call.method, request.idempotency_key, request, _released, pb.ReleaseHoldResponse
        )
        max_micros = request.amount_micros if request.HasField("amount_micros") else None
        return self._holds.release(escrow, request.idempotency_key, idempotency, max_micros)

    def ListHolds(self, request: pb.ListHoldsRequest, call: Call) -> pb.ListHoldsResponse:
        found = self._holds.list_page(page(request, call.method, NO_ORGANIZATION))
        return pb.ListHoldsResponse(holds=[_hold(one) for one in found.rows], next_page_token=found.next_page_token)

    def PostSpend(self, request: pb.PostSpendRequest, _call: Call) -> pb.PostSpendResponse:
        results = self._holds.spend([_spend(item) for item in request.items])
        return pb.PostSpendResponse(
            results=[
                pb.SpendResult(
                    idempotency_key=one.key,
                    posted_micros=one.posted_micros,
                    held_micros=one.held_micros,
                    refusal=KeyReused.reason if one.is_refused else ErrorReason.ERROR_REASON_UNSPECIFIED,
                    first_posted_micros=one.first_posted_micros,
                )
                for one in results
            ]
        )

    def ListPublisherBalances(
        self, request: pb.ListPublisherBalancesRequest, _call: Call
    ) -> pb.ListPublisherBalancesResponse:
        found = self._balances.publisher_balances([UUID(id) for id in request.publisher_ids])
        return pb.ListPublisherBalancesResponse(
            balances=[
                pb.PublisherBalance(
                    publisher_id=str(one.publisher_id),
                    currency_code=one.currency_code,
                    pending_micros=one.pending_micros,
                    available_micros=one.available_micros,
                    paid_micros=one.paid_micros,
                    on_hold_micros=one.on_hold_micros,
                )
                for one in found
            ]
        )

    def ReservePayout(self, request: pb.ReservePayoutRequest, _call: Call) -> pb.ReservePayoutResponse:
        self._payouts.reserve(
            UUID(request.payout_id),
            UUID(request.organization_id),
            UUID(request.publisher_id),
            request.amount_micros,
            request.currency_code,
        )
        return pb.ReservePayoutResponse()

    def CancelPayout(self, request: pb.CancelPayoutRequest, _call: Call) -> pb.CancelPayoutResponse:
        self._payouts.cancel(UUID(request.payout_id))
        return pb.CancelPayoutResponse()

    def SendPayout(self, request: pb.SendPayoutRequest, _call: Call) -> pb.SendPayoutResponse:
        destination = request.destination
        self._payouts.send(
            UUID(request.payout_id),
            BankAccount(
                holder=destination.account_holder_name,
                iban=destination.iban,
                routing_number=destination.united_states.routing_number,
                account_number=destination.united_states.account_number,
            ),
        )
        return pb.SendPayoutResponse()

    def VerifyLedger(self, _request: pb.VerifyLedgerRequest, _call: Call) -> pb.VerifyLedgerResponse:
        return pb.VerifyLedgerResponse(
            currencies=[
                pb.VerifyLedgerResponse.Currency(
                    currency_code=one.currency_code,
                    sum_micros=one.sum_micros,
                    difference_micros=one.difference_micros,
                    overdrawn=one.overdrawn,
                    payments_differing=one.payments_differing,
                    differing_payment_ids=[str(id) for id in one.differing_payment_ids],
                    accounts=one.accounts,
                    transfers=one.transfers,
                )
                for one in self._balances.verify()
            ]
        )


def _escrow(request: pb.HoldBudgetRequest | pb.ReleaseHoldRequest | pb.SpendItem) -> Escrow:
    return Escrow(UUID(request.organization_id), UUID(request.campaign_id), request.currency_code)


def _hold(hold: Hold) -> pb.Hold:
    return pb.Hold(
        organization_id=str(hold.escrow.organization_id),
        campaign_id=str(hold.escrow.campaign_id),
        currency_code=hold.escrow.currency_code,
        held_micros=hold.held_micros,
    )


def _released(micros: int) -> pb.ReleaseHoldResponse:
    return pb.ReleaseHoldResponse(released_micros=micros)


def _spend(item: pb.SpendItem) -> Spend:
    earner = None
    if item.HasField("publisher"):
        who = item.publisher
        earner = Earner(UUID(who.organization_id), UUID(who.publisher_id), who.share_basis_points)
    return Spend(_escrow(item), item.amount_micros, item.idempotency_key, earner)
