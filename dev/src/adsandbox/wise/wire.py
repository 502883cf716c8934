"""Wise's wire format: amounts, bank details, errors."""

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.responses import JSONResponse, Response

from adsandbox.control import ControlError

# The value of one unit of each currency in USD cents, fixed so that tests can predict amounts.
USD_CENTS = {"USD": 100, "EUR": 110, "GBP": 130, "CHF": 112, "PLN": 25, "SEK": 9, "AUD": 65, "CAD": 73, "SGD": 74}
MAX_CENTS = 10**12
# The profile's name.
HOLDER = "Ad Platform Ltd"

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_ABA_WEIGHTS = (3, 7, 1, 3, 7, 1, 3, 7, 1)


class WiseError(Exception):
    """An error in Wise's format; `path` is the field that it is about."""

    def __init__(self, message: str, *, status: int = 422, code: str = "NOT_VALID", path: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.path = path

    def response(self) -> Response:
        """Return the error as Wise's answer."""
        if self.status == 401:
            return JSONResponse({"error": "invalid_token", "error_description": str(self)}, 401)
        error: dict[str, Any] = {"code": self.code, "message": str(self), "path": self.path, "arguments": []}
        return JSONResponse(
            {"errors": [{name: value for name, value in error.items() if value is not None}]}, self.status
        )


def cents(body: dict[str, Any], name: str) -> int | None:
    """Return a positive amount with at most two decimals in cents, or None without it."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise WiseError(f"{name} must be a number", path=name)
    if not 0 < value <= MAX_CENTS // 100 or value * 100 != int(value * 100):
        raise WiseError(f"{name} must be more than 0, with at most two decimals", path=name)
    return int(value * 100)


def decimal_cents(body: dict[str, Any], name: str) -> int:
    """Return a positive amount of a control request, a number or a string such as "12.34", in cents."""
    value = body.get(name)
    if isinstance(value, str):
        try:
            value = Decimal(value)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            raise ControlError(400, f"{body[name]} is not an amount")
    found = cents({name: value}, name)
    if found is None:
        raise ControlError(400, f"{name} is missing")
    return found


def amount(minor: int) -> float:
    """Return cents as the JSON number that Wise writes; parsed as a decimal it is exact."""
    return float(Decimal(minor) / 100)


def currency(body: dict[str, Any], name: str) -> str:
    """Return a supported currency."""
    value = body.get(name)
    if not isinstance(value, str) or value not in USD_CENTS:
        raise WiseError(f"{name} is not a supported currency", code="error.currency.notsupported", path=name)
    return value


def converted(minor: int, source: str, target: str) -> int:
    """Convert cents of one currency into cents of another, rounded down."""
    return minor * USD_CENTS[source] // USD_CENTS[target]


def rate(source: str, target: str) -> float:
    """Return the units of target that one unit of source buys."""
    return float(round(Decimal(USD_CENTS[source]) / USD_CENTS[target], 6))


def iso_time(at_s: float) -> str:
    """Return a time in UTC with milliseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked_details(kind: Any, code: str, details: Any) -> dict[str, Any]:
    """Return the bank details of a recipient; WiseError if a check digit is wrong."""
    if not isinstance(details, dict):
        raise WiseError("details must be an object", path="details")
    if kind == "iban":
        iban = str(details.get("IBAN") or details.get("iban") or "").replace(" ", "").upper()
        if not _iban_is_valid(iban):
            raise WiseError("Please enter a valid IBAN.", path="IBAN")
    elif kind == "aba":
        if code != "USD":
            raise WiseError("Account type aba takes USD only", path="type")
        if not _aba_is_valid(str(details.get("abartn", ""))):
            raise WiseError("Please enter a valid ACH routing number.", path="abartn")
        if not re.fullmatch(r"[0-9]{4,17}", str(details.get("accountNumber", ""))):
            raise WiseError("Please enter a valid account number of 4 to 17 digits.", path="accountNumber")
        if details.get("accountType", "CHECKING") not in ("CHECKING", "SAVINGS"):
            raise WiseError("accountType must be CHECKING or SAVINGS", path="accountType")
    else:
        raise WiseError("type must be iban or aba", path="type")
    if details.get("legalType", "PRIVATE") not in ("PRIVATE", "BUSINESS"):
        raise WiseError("legalType must be PRIVATE or BUSINESS", path="legalType")
    return details


def _iban_is_valid(iban: str) -> bool:
    """Whether the check digits (ISO 7064, mod 97) are right."""
    return bool(_IBAN.fullmatch(iban)) and int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def _aba_is_valid(number: str) -> bool:
    if not re.fullmatch(r"[0-9]{9}", number) or number == "000000000":
        return False
    return sum(int(digit) * weight for digit, weight in zip(number, _ABA_WEIGHTS, strict=True)) % 10 == 0
