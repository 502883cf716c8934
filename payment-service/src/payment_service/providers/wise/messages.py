"""Wise's JSON ↔ model."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from adlib.errors import InvalidArgument, Unavailable
from adlib.money import from_decimal, to_decimal
from payment_service.providers.wise.model import StatementLine

Json = Mapping[str, Any]

BALANCE_UPDATE = "balances#update"
BALANCE_EVENTS = (BALANCE_UPDATE, "balances#credit")
TRANSFER_EVENT = "transfers#state-change"


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A balance event, by which its statement line is found. `number`: the digits of the movement's reference."""

    amount_micros: int
    currency_code: str
    is_credit: bool
    running_balance_micros: int
    number: str
    balance_id: int | None
    at: datetime

    def may_be(self, line: StatementLine) -> bool:
        """Whether the line may be the movement that the event reports."""
        return (line.is_credit, line.amount_micros) == (self.is_credit, self.amount_micros)

    def distance(self, line: StatementLine) -> tuple[bool, bool, Any]:
        """Sorts lines: the movement's number first, then its balance, then the nearest time."""
        return (
            digits(line.reference_number) != self.number,
            line.running_balance_micros != self.running_balance_micros,
            abs(line.at - self.at),
        )


def balance_change(data: Json) -> BalanceChange:
    """A balance event's data; INVALID_FIELD."""
    balance_id = data.get("balance_id")
    try:
        return BalanceChange(
            amount_micros=abs(micros(data["amount"])),
            currency_code=str(data["currency"]),
            is_credit=data.get("transaction_type", "credit") == "credit",
            running_balance_micros=micros(data.get("post_transaction_balance_amount") or 0),
            number=digits(str(data.get("transfer_reference") or "")),
            balance_id=balance_id if isinstance(balance_id, int) else None,
            at=datetime.fromisoformat(data["occurred_at"]),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InvalidArgument("data must have an amount, its currency and occurred_at") from error


def balance_event(line: StatementLine, profile_id: int) -> bytes:
    """The body of the webhook that Wise sends about the line."""
    data = {
        "resource": {"profile_id": profile_id, "type": "balance-account"},
        "amount": str(to_decimal(line.amount_micros)),
        "currency": line.currency_code,
        "occurred_at": line.at.isoformat(),
        "post_transaction_balance_amount": str(to_decimal(line.running_balance_micros)),
        "transaction_type": line.direction,
        "transfer_reference": line.reference_number,
    }
    return json.dumps({"event_type": BALANCE_UPDATE, "data": data}).encode()


def statement_lines(statement: Any) -> Sequence[StatementLine]:
    """A statement's lines, oldest first; UNAVAILABLE if one cannot be parsed."""
    found = statement.get("transactions") if isinstance(statement, dict) else None
    if not isinstance(found, list):
        raise Unavailable("Wise returned something other than a statement")
    return sorted(map(_line, found), key=lambda line: line.at)


def account_instructions(details: Sequence[Json], currency_code: str) -> Mapping[str, str]:
    """The account that receives the currency, as fields of the contract's WiseInstructions; empty: there is none."""
    for account in details:
        is_usable = account.get("status") == "ACTIVE" and not account.get("deprecated")
        if is_usable and inner(account, "currency").get("code") == currency_code:
            return _instructions(account.get("receiveOptions") or [])
    return {}


def transfer_created_at(transfer: Json) -> datetime:
    """When the transfer was created; UNAVAILABLE."""
    try:
        return datetime.fromisoformat(str(transfer.get("created"))).replace(tzinfo=UTC)
    except ValueError as error:
        raise Unavailable("Wise's transfer has no time of creation") from error


def sent_micros(transfer: Json) -> int:
    """The amount that the transfer's recipient receives."""
    return micros(transfer.get("targetValue") or 0)


def inner(outer: Json, name: str) -> Json:
    """The object inside an object; an empty one if there is none."""
    found = outer.get(name)
    return found if isinstance(found, dict) else {}


def micros(amount: Any) -> int:
    """Micros of an amount in Wise's JSON."""
    return from_decimal(Decimal(amount))


def digits(text: str) -> str:
    """The digits of a reference number: webhooks and statements prefix it differently."""
    return re.sub(r"\D", "", text)


def format_time(at: datetime) -> str:
    """A time in a query, in milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(found: Json) -> StatementLine:
    try:
        details = inner(found, "details")
        return StatementLine(
            reference_number=str(found["referenceNumber"]),
            is_credit=found["type"] == "CREDIT",
            kind=str(details.get("type")),
            amount_micros=abs(micros(found["amount"]["value"])),
            currency_code=str(found["amount"]["currency"]),
            running_balance_micros=micros(inner(found, "runningBalance").get("value") or 0),
            at=datetime.fromisoformat(found["date"]),
            remittance_text=storable(str(details.get("paymentReference") or "")),
            sender_name=storable(str(details.get("senderName") or "")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        # No credit is better than a wrong one.
        raise Unavailable(f"a line of Wise's statement cannot be parsed: {error!r}") from error


def storable(text: str) -> str:
    """A sender's text without the characters that PostgreSQL and protobuf reject, which would block other deposits."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _instructions(options: Sequence[Json]) -> Mapping[str, str]:
    """Details for domestic transfers take precedence over those for foreign banks."""
    details: dict[str, str] = {}
    for option in sorted(options, key=lambda option: option.get("type") != "LOCAL"):
        for detail in option.get("details") or []:
            details.setdefault(str(detail.get("type")), str(detail.get("body") or ""))
    named = {
        "account_holder_name": details.get("ACCOUNT_HOLDER"),
        "bank_name": (details.get("BANK_NAME") or details.get("ADDRESS", "")).partition("\n")[0],
        "iban": details.get("IBAN", "").replace(" ", ""),
        "swift_code": details.get("SWIFT_CODE"),
        "routing_number": details.get("ROUTING_NUMBER") or details.get("BANK_CODE"),
        "account_number": details.get("ACCOUNT_NUMBER"),
    }
    return {name: value for name, value in named.items() if value}
