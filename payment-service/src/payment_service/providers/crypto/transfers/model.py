"""Transfers to deposit addresses. Amounts of coins are in the coin's smallest unit."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class Stage(StrEnum):
    """How far a transfer is booked: NEW → SEEN (pending) → CREDITED; ORPHANED by a reorganization → REVERSED."""

    NEW = "NEW"
    SEEN = "SEEN"
    CREDITED = "CREDITED"
    ORPHANED = "ORPHANED"
    REVERSED = "FORGOTTEN"


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer to a deposit address, and its value in the currency."""

    key: str
    chain_id: int
    block_number: int
    transaction_hash: str
    payment_id: UUID
    address: str
    coin: str
    amount: int
    rate: Decimal
    currency_code: str
    amount_micros: int
    seen_at: datetime
    state: Stage = Stage.NEW
    shown_confirmations: int = 0
