"""Lines of a statement, and the states of transfers that the profile sends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from payment_service.payments.model import Recall
from payment_service.providers.model import ReversalReport, TransferState, TransferStatus

NAME = "WISE"
# Clocks differ, and a line may appear in the statement later than its own time.
STATEMENT_MARGIN = timedelta(hours=1)
# Wise returns at most 469 days of a statement per request; shorter intervals keep responses small.
MAX_STATEMENT_INTERVAL = timedelta(days=60)
# The prefix of the reference numbers of transfers that the profile sends.
OWN_TRANSFER_PREFIX = "TRANSFER-"

# An unknown state is one that Wise has added since: it is read as "nothing has happened yet".
_STATES = {
    "incoming_payment_waiting": TransferState.AWAITING_FUNDS,
    "incoming_payment_initiated": TransferState.AWAITING_FUNDS,
    "processing": TransferState.PROCESSING,
    "funds_converted": TransferState.PROCESSING,
    "outgoing_payment_sent": TransferState.PAID,
    # Not final: Wise delivers it later, or cancels and refunds it.
    "bounced_back": TransferState.PROCESSING,
    "cancelled": TransferState.FAILED,
    "funds_refunded": TransferState.FAILED,
    "charged_back": TransferState.FAILED,
}
_REASONS = {
    "cancelled": "the transfer was cancelled, or the recipient's bank sent the money back",
    "funds_refunded": "the transfer was refunded",
    "charged_back": "the transfer was charged back",
}
# The money returns to the balance, as far as the statement shows it.
RETURNED_STATES = frozenset(_REASONS)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A line of a balance's statement.

    `reference_number` is Wise's id of the movement; lines that reverse it have the same number.
    """

    reference_number: str
    is_credit: bool
    kind: str
    amount_micros: int
    currency_code: str
    running_balance_micros: int
    at: datetime
    remittance_text: str
    sender_name: str

    @property
    def key(self) -> str:
        """Identifies the line permanently; several lines may share a reference number."""
        return f"{self.reference_number}/{self.at.isoformat()}/{self.amount_micros}/{self.running_balance_micros}"

    @property
    def direction(self) -> str:
        """Credit or debit, as Wise spells it."""
        return "credit" if self.is_credit else "debit"


@dataclass(frozen=True, slots=True)
class TransferMovements:
    """The sums that one of the profile's transfers debited from its balance, fee included, and credited back."""

    debited_micros: int
    credited_micros: int
    is_same_currency: bool

    def returned_micros(self, sent_micros: int) -> int:
        """The returned part of the sent amount; a credit above it is Wise's fee."""
        credited_micros = self.credited_micros
        if not self.is_same_currency and self.debited_micros:
            credited_micros = sent_micros * credited_micros // self.debited_micros
        return min(sent_micros, credited_micros)


def transfer_status(state: str) -> TransferStatus:
    """The status of a transfer in a state of Wise's; a returned transfer needs `returned_status`."""
    return TransferStatus(_STATES.get(state, TransferState.AWAITING_FUNDS), _REASONS.get(state, ""))


def returned_status(state: str, movements: TransferMovements, sent_micros: int) -> TransferStatus:
    """The status of a transfer in one of `RETURNED_STATES`.

    FAILED once the statement shows the returned money, with the amount in the statement; PROCESSING until then.
    """
    reason = _REASONS[state]
    if movements.credited_micros:
        return TransferStatus(TransferState.FAILED, reason, movements.returned_micros(sent_micros))
    if state == "cancelled" and not movements.debited_micros:
        return TransferStatus(TransferState.FAILED, reason)
    return TransferStatus(TransferState.PROCESSING, f"{reason}; the money is not in the balance yet")


def statement_intervals(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Splits the time between the two into intervals that Wise accepts."""
    while begin < end:
        until = min(begin + MAX_STATEMENT_INTERVAL, end)
        yield begin, until
        begin = until


def unique_lines(lines: Sequence[StatementLine]) -> Sequence[StatementLine]:
    """The lines without repeats: one at the very end of an interval is also in the next."""
    return list({line.key: line for line in lines}.values())


def recalls_of(line: StatementLine, lines: Sequence[StatementLine]) -> tuple[Recall, ...]:
    """The debits by which the sender's bank recalled a credit or a part of it."""
    return tuple(
        Recall(other.key, other.amount_micros)
        for other in lines
        if other.reference_number == line.reference_number and not other.is_credit
    )


def reversal_report(line: StatementLine, lines: Sequence[StatementLine]) -> ReversalReport:
    """The reversal that a debit line reports: of the whole credit with its number, or of a part."""
    related = [other for other in lines if other.reference_number == line.reference_number]
    is_whole = sum(not other.is_credit for other in related) == 1 and any(
        other.is_credit and other.amount_micros == line.amount_micros for other in related
    )
    return ReversalReport(line.reference_number, None if is_whole else Recall(line.key, line.amount_micros))
