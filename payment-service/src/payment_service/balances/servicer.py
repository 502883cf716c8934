"""BillingService of the contract."""

from adplatform.payment.v1 import payment_pb2 as pb

from adlib.clock import instant, timestamp
from adlib.rpc import Call
from payment_service.balances.model import StatementLine
from payment_service.balances.service import BalanceService


class BillingServicer:
    """Serves BillingService."""

    contract = pb.DESCRIPTOR.services_by_name["BillingService"]

    def __init__(self, balances: BalanceService) -> None:
        self._balances = balances

    def GetBalance(self, request: pb.GetBalanceRequest, call: Call) -> pb.Balance:
        at = instant(request.at_time, "atTime") if request.HasField("at_time") else None
        balance = self._balances.balance(call.caller.organization_id, request.currency_code, at)
        return pb.Balance(
            currency_code=balance.currency_code,
            available_micros=balance.available_micros,
            held_micros=balance.held_micros,
            spent_micros=balance.spent_micros,
            reserved_micros=balance.reserved_micros,
            debt_micros=balance.debt_micros,
        )

    def GetStatement(self, request: pb.GetStatementRequest, call: Call) -> pb.GetStatementResponse:
        found = self._balances.statement(
            call.caller.organization_id,
            request.currency_code,
            call.page(request),
            start=instant(request.start_time, "startTime") if request.HasField("start_time") else None,
            end=instant(request.end_time, "endTime") if request.HasField("end_time") else None,
        )
        return pb.GetStatementResponse(
            lines=[_line(line) for line in found.rows], next_page_token=found.next_page_token
        )


def _line(line: StatementLine) -> pb.StatementLine:
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
