"""BillingService and LedgerService of the contract."""

from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.payment.v1 import payment_pb2 as pb

from adlib.clock import instant, timestamp
from adlib.idempotency import Idempotency, KeyReused
from adlib.paging import page
from adlib.rpc import NO_ORGANIZATION, Call
from payment_service.ledger.model import Earner, Escrow, Hold, Line, Spend
from payment_service.ledger.service import LedgerService
from payment_service.payouts.model import BankAccount
from payment_service.payouts.service import PayoutService


class BillingServicer:
    """Parses, calls, renders."""

    def __init__(self, ledger: LedgerService) -> None:
        self._ledger = ledger

    def GetBalance(self, request: pb.GetBalanceRequest, call: Call) -> pb.Balance:
        at = instant(request.at_time, "atTime") if request.HasField("at_time") else None
        balance = self._ledger.balance(call.caller.organization_id, request.currency_code, at)
        return pb.Balance(
            currency_code=balance.currency_code,
            available_micros=balance.available_micros,
            held_micros=balance.held_micros,
            spent_micros=balance.spent_micros,
            reserved_micros=balance.reserved_micros,
            debt_micros=balance.debt_micros,
        )

    def GetStatement(self, request: pb.GetStatementRequest, call: Call) -> pb.GetStatementResponse:
        found = self._ledger.statement(
            call.caller.organization_id,
            request.currency_code,
            call.page(request),
            start=instant(request.start_time, "startTime") if request.HasField("start_time") else None,
            end=instant(request.end_time, "endTime") if request.HasField("end_time") else None,
        )
        return pb.GetStatementResponse(
            lines=[_line(line) for line in found.rows], next_page_token=found.next_page_token
        )


class LedgerServicer:
    """Parses, calls, renders."""

    def __init__(self, ledger: LedgerService, payouts: PayoutService) -> None:
        self._ledger = ledger
        self._payouts = payouts

    def HoldBudget(self, request: pb.HoldBudgetRequest, _call: Call) -> pb.HoldBudgetResponse:
        return pb.HoldBudgetResponse(
            held_micros=self._ledger.hold(_escrow(request), request.amount_micros, request.idempotency_key)
        )

    def ReleaseHold(self, request: pb.ReleaseHoldRequest, call: Call) -> pb.ReleaseHoldResponse:
        escrow = _escrow(request)
        idempotency = Idempotency(
            escrow.organization_id, call.method, request.idempotency_key, request, _released, pb.ReleaseHoldResponse
        )
        most_micros = request.amount_micros if request.HasField("amount_micros") else None
        return self._ledger.release(escrow, request.idempotency_key, idempotency, most_micros)

    def ListHolds(self, request: pb.ListHoldsRequest, call: Call) -> pb.ListHoldsResponse:
        found = self._ledger.holds(page(request, call.method, NO_ORGANIZATION))
        return pb.ListHoldsResponse(holds=[_hold(one) for one in found.rows], next_page_token=found.next_page_token)

    def PostSpend(self, request: pb.PostSpendRequest, _call: Call) -> pb.PostSpendResponse:
        results = self._ledger.spend([_spend(item) for item in request.items])
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
        found = self._ledger.publisher_balances([UUID(id) for id in request.publisher_ids])
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
                    currency_code=books.currency_code,
                    sum_micros=books.sum_micros,
                    difference_micros=books.difference_micros,
                    overdrawn=books.overdrawn,
                    payments_differing=books.payments_differing,
                    differing_payment_ids=[str(id) for id in books.differing_payment_ids],
                    accounts=books.accounts,
                    transfers=books.transfers,
                )
                for books in self._ledger.verify()
            ]
        )


def _line(line: Line) -> pb.StatementLine:
    reference = str(line.reference or "")
    return pb.StatementLine(
        id=str(line.id),
        time=timestamp(line.time),
        kind=pb.StatementLine.Kind.Value(line.kind),
        phase=pb.StatementLine.Phase.Value(line.phase),
        payment_id="" if line.is_about_campaign else reference,
        campaign_id=reference if line.is_about_campaign else "",
        available_delta_micros=line.available_delta_micros,
        held_delta_micros=line.held_delta_micros,
        spent_delta_micros=line.spent_delta_micros,
        reserved_delta_micros=line.reserved_delta_micros,
        debt_delta_micros=line.debt_delta_micros,
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
