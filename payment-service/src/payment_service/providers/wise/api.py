"""What Wise's API tells of money that comes in."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from adlib.clock import SystemClock
from adlib.errors import Unavailable
from adlib.money import from_decimal
from adlib.telemetry import logger
from payment_service.providers.answers import whole
from payment_service.providers.health import Health

# To connect, to answer, and for the whole answer. Wise waits 5 s for ours to a webhook.
_TIMEOUT = httpx.Timeout(3.0, connect=1.0)
_WITHIN_S = 4.0
_KEPT_S = 600.0
# Clocks differ, and a line may be in the statement later than its own time says.
MARGIN = timedelta(hours=1)
# Wise gives at most 469 days of a statement at once; less keeps the answers small.
MOST_AT_ONCE = timedelta(days=60)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a balance's statement; `reference_number` is Wise's own, and that of what gives it back, too."""

    reference_number: str
    is_credit: bool
    kind: str
    amount_micros: int
    currency_code: str
    running_micros: int
    at: datetime
    text: str
    sender_name: str

    @property
    def key(self) -> str:
        """The line's own, for ever: several lines may have one reference number."""
        return f"{self.reference_number}/{self.at.isoformat()}/{self.amount_micros}/{self.running_micros}"


@dataclass(frozen=True, slots=True)
class Moved:
    """What one of the profile's own transfers took from its balance, fee included, and what of that came back."""

    out_micros: int
    back_micros: int
    is_one_currency: bool

    def returned_of(self, amount_micros: int) -> int:
        """What of the amount that was sent has come back: what came back beyond it is Wise's fee."""
        back_micros = self.back_micros
        if not self.is_one_currency and self.out_micros:
            back_micros = amount_micros * back_micros // self.out_micros
        return min(amount_micros, back_micros)


class WiseApi:
    """For one profile. Everything raises UNAVAILABLE.

    `health` is that of the statement: without it nothing is credited, whatever else is answered.
    """

    def __init__(self, url: str, token: str, profile_id: int, health: Health | None = None) -> None:
        self._health = health or Health(SystemClock())
        self._profile = f"profiles/{profile_id}"
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT, follow_redirects=False
        )
        self._kept: dict[str, tuple[float, Any]] = {}

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def account(self, currency_code: str) -> Mapping[str, str]:
        """The bank account that takes the currency, as the contract's WiseInstructions; empty where there is none."""
        for one in self._read_seldom(f"/v1/{self._profile}/account-details"):
            is_usable = one.get("status") == "ACTIVE" and not one.get("deprecated")
            if is_usable and _at(one, "currency", "code") == currency_code:
                return _instructions(one.get("receiveOptions") or [])
        return {}

    def lines(
        self, currency_code: str, since: datetime, until: datetime, balance_id: int | None = None
    ) -> Sequence[Line]:
        """The currency's statement, oldest first; nothing where the profile has no such balance."""
        balance_id = balance_id or self._balance_id(currency_code)
        if balance_id is None or since >= until:
            self._health.answered()
            return []
        path = f"/v1/{self._profile}/balance-statements/{balance_id}/statement.json"
        interval = {"intervalStart": _time(since), "intervalEnd": _time(until)}
        answer = self._read(path, currency=currency_code, type="COMPACT", **interval)
        self._health.answered()
        return sorted(map(_line, _transactions(answer)), key=lambda line: line.at)

    def transfer(self, transfer_id: str) -> Mapping[str, Any] | None:
        """One of the profile's own transfers; None where there is none with this id."""
        found = self._read(f"/v1/transfers/{transfer_id}")
        return found if isinstance(found, dict) else None

    def moved(self, transfer: Mapping[str, Any], until: datetime) -> Moved:
        """What the statement has of one of the profile's own transfers."""
        currency_code = str(transfer.get("sourceCurrency"))
        number = f"TRANSFER-{transfer.get('id')}"
        since = _created(transfer) - MARGIN
        found = [line for part in intervals(since, until) for line in self.lines(currency_code, *part)]
        # A line at the very end of an interval is in the next one, too.
        own = {line.key: line for line in found if line.reference_number == number}.values()
        return Moved(
            out_micros=sum(line.amount_micros for line in own if not line.is_credit),
            back_micros=sum(line.amount_micros for line in own if line.is_credit),
            is_one_currency=transfer.get("targetCurrency") == currency_code,
        )

    def _balance_id(self, currency_code: str) -> int | None:
        balances = self._read_seldom(f"/v4/{self._profile}/balances", types="STANDARD")
        return next((int(one["id"]) for one in balances if one.get("currency") == currency_code), None)

    def _read_seldom(self, path: str, **query: str) -> Sequence[Mapping[str, Any]]:
        """A list that hardly ever changes, from memory for ten minutes."""
        until, kept = self._kept.get(path, (0.0, []))
        if time.monotonic() < until:
            return list(kept)
        found = self._read(path, **query)
        if not isinstance(found, list):
            raise Unavailable("Wise answered something else than a list")
        self._kept[path] = (time.monotonic() + _KEPT_S, found)
        return found

    def _read(self, path: str, **query: str) -> Any:
        try:
            status, body = whole(self._client, "GET", path, _WITHIN_S, params=query)
            found = json.loads(body, parse_float=Decimal) if body else None
        except (httpx.HTTPError, ValueError) as error:
            self._health.failed("Wise does not answer")
            raise Unavailable(f"Wise does not answer: {type(error).__name__}") from error
        if status == httpx.codes.NOT_FOUND:
            return None
        if not httpx.codes.is_success(status):
            # Among them a wrong token or profile of ours, and a statement that Wise wants a second factor for.
            _log.error("wise_failed", path=path, status=status)
            self._health.failed(f"Wise answers with status {status}")
            raise Unavailable(f"Wise answers with status {status}")
        return found


def intervals(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The time between the two in parts for which Wise gives a statement."""
    while begin < end:
        until = min(begin + MOST_AT_ONCE, end)
        yield begin, until
        begin = until


def _created(transfer: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(str(transfer.get("created"))).replace(tzinfo=UTC)
    except ValueError as error:
        raise Unavailable("Wise does not say when the transfer was made") from error


def _transactions(statement: Any) -> Sequence[Mapping[str, Any]]:
    found = statement.get("transactions") if isinstance(statement, dict) else None
    if not isinstance(found, list):
        raise Unavailable("Wise answered something else than a statement")
    return found


def _line(found: Mapping[str, Any]) -> Line:
    try:
        return Line(
            reference_number=str(found["referenceNumber"]),
            is_credit=found["type"] == "CREDIT",
            kind=str(_at(found, "details", "type")),
            amount_micros=abs(micros(found["amount"]["value"])),
            currency_code=str(found["amount"]["currency"]),
            running_micros=micros(_at(found, "runningBalance", "value") or 0),
            at=datetime.fromisoformat(found["date"]),
            text=clean(str(_at(found, "details", "paymentReference") or "")),
            sender_name=clean(str(_at(found, "details", "senderName") or "")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        # Rather nothing than money that was misread.
        raise Unavailable(f"Wise's statement has a line that cannot be read: {error!r}") from error


def clean(text: str) -> str:
    """What strangers wrote, without what neither PostgreSQL nor protobuf takes: it must not hold up others' money."""
    return text.replace("\0", "").encode(errors="replace").decode()


def micros(amount: Any) -> int:
    """Micros of an amount as Wise writes it."""
    return from_decimal(Decimal(amount))


def _instructions(options: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """What is told of an account at home comes before what foreign banks need."""
    told: dict[str, str] = {}
    for option in sorted(options, key=lambda one: one.get("type") != "LOCAL"):
        for detail in option.get("details") or []:
            told.setdefault(str(detail.get("type")), str(detail.get("body") or ""))
    named = {
        "account_holder_name": told.get("ACCOUNT_HOLDER"),
        "bank_name": (told.get("BANK_NAME") or told.get("ADDRESS", "")).partition("\n")[0],
        "iban": told.get("IBAN", "").replace(" ", ""),
        "swift_code": told.get("SWIFT_CODE"),
        "routing_number": told.get("ROUTING_NUMBER") or told.get("BANK_CODE"),
        "account_number": told.get("ACCOUNT_NUMBER"),
    }
    return {name: value for name, value in named.items() if value}


def _at(found: Mapping[str, Any], outer: str, name: str) -> Any:
    inner = found.get(outer)
    return inner.get(name) if isinstance(inner, dict) else None


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
