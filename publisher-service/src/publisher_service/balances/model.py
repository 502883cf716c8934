"""The comparison of a publisher's earnings with the amounts that the ledger has credited."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from adlib.errors import AppError


class BalancesDiffer(Exception):
    """A publisher's earnings differ from the amounts that the ledger has credited."""

    def __init__(self, publisher_id: UUID, currency_code: str, earned_micros: int, credited_micros: int) -> None:
        super().__init__(
            f"publisher {publisher_id}: earnings add up to {earned_micros} micros {currency_code}, "
            f"the ledger has credited {credited_micros}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A publisher's totals in micros by currency.

    `earned` was read before the ledger and `earned_since` after it, since earnings follow the ledger over the bus.
    `failure`: why the ledger could not be read.
    """

    publisher_id: UUID
    earned: Mapping[str, int]
    credited: Mapping[str, int]
    earned_since: Mapping[str, int]
    failure: AppError | None = None

    @property
    def is_behind(self) -> bool:
        """Whether events for credited amounts have not arrived yet."""
        return any(self.earned_since.get(code, 0) < credited for code, credited in self.credited.items())

    def require_equal(self) -> None:
        """Raises BalancesDiffer, or the failure to read the ledger."""
        if self.failure:
            raise self.failure
        for code in self.earned.keys() | self.credited.keys():
            credited = self.credited.get(code, 0)
            for earned in (max(self.earned.get(code, 0), credited), min(self.earned_since.get(code, 0), credited)):
                if earned != credited:
                    raise BalancesDiffer(self.publisher_id, code, earned, credited)
