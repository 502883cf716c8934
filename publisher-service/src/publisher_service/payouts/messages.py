"""Converts payouts from and to the contract's messages."""

from adplatform.payment.v1.payment_pb2 import BankAccount as BankAccountPb
from adplatform.publisher.v1 import publisher_pb2 as pb

from adlib.clock import timestamp
from publisher_service.payouts.model import BankAccount, Payout, public_state


def bank_account(message: BankAccountPb) -> BankAccount:
    """The account of a message."""
    if message.HasField("iban"):
        return BankAccount(message.account_holder_name, iban=message.iban)
    return BankAccount(
        message.account_holder_name,
        routing_number=message.united_states.routing_number,
        account_number=message.united_states.account_number,
    )


def bank_account_pb(account: BankAccount) -> BankAccountPb:
    """The message of an account."""
    if account.iban is not None:
        return BankAccountPb(account_holder_name=account.account_holder_name, iban=account.iban)
    return BankAccountPb(
        account_holder_name=account.account_holder_name,
        united_states=BankAccountPb.UnitedStates(
            routing_number=account.routing_number or "", account_number=account.account_number or ""
        ),
    )


def payout_pb(payout: Payout) -> pb.Payout:
    """The message of a payout."""
    return pb.Payout(
        id=str(payout.id),
        publisher_id=str(payout.publisher_id),
        state=pb.Payout.State.Value(public_state(payout.state)),
        amount_micros=payout.amount_micros,
        currency_code=payout.currency_code,
        destination=bank_account_pb(payout.destination),
        requested_by_user_id=str(payout.requested_by),
        decided_by_user_id=str(payout.decided_by or ""),
        reason=payout.reason,
        create_time=timestamp(payout.created_at),
        update_time=timestamp(payout.updated_at),
    )
