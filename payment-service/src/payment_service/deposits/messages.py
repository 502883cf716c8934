"""Deposits as protobuf messages."""

from adplatform.payment.v1 import payment_pb2 as pb
from google.protobuf.json_format import ParseDict

from adlib.clock import timestamp
from payment_service.deposits.model import Deposit


def to_pb(deposit: Deposit) -> pb.Deposit:
    """The deposit as customers and staff see it."""
    message = pb.Deposit(
        id=str(deposit.id),
        state=pb.Deposit.State.Value(deposit.state.value),
        provider=pb.Provider.Value(deposit.provider),
        payment_id=str(deposit.payment_id or ""),
        amount_micros=deposit.amount_micros,
        currency_code=deposit.currency_code,
        asset=deposit.asset,
        asset_amount="" if deposit.asset_amount is None else str(deposit.asset_amount),
        rate="" if deposit.rate is None else f"{deposit.rate:f}",
        create_time=timestamp(deposit.created_at),
        update_time=timestamp(deposit.updated_at),
        sent_for_payment_id=str(deposit.sent_for_payment_id or ""),
        recalled_micros=deposit.recalled_micros,
    )
    ParseDict(dict(deposit.detail), message)
    return message
