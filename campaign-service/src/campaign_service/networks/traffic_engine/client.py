"""A client of TrafficEngine's HTTP API, which has the shape of PropellerAds v5."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal, DecimalException
from http import HTTPStatus
from typing import Any

import httpx
from typing_extensions import override

from adlib.money import from_decimal, to_decimal
from adlib.telemetry import logger
from campaign_service.campaigns.model import Campaign
from campaign_service.deadlines import remaining_s
from campaign_service.networks.protocol import Network, NetworkRejected, NetworkUnavailable
from campaign_service.stats.model import Figures, Slot

_CALL_TIMEOUT_S = 2.5
_CONNECT_TIMEOUT_S = 1.0
_PAGE_SIZE = 1000
# 100,000 rows: a hundred campaigns over three days with 300 zones each.
_MAX_PAGES = 100
# Client errors that the campaign does not cause; a retry may succeed.
_TRANSIENT_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_log = logger(__name__)


class TrafficEngine(Network):
    """Creates campaigns stopped; finds them by name; plays and stops them by id."""

    code = "TRAFFIC_ENGINE"
    currency_code = "USD"

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/v5/adv",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,  # a proxy from the environment must not redirect calls
        )

    @override
    def close(self) -> None:
        self._http.close()

    @override
    def find(self, name: str) -> str | None:
        answer = self._call("GET", "/campaigns", params={"name": name, "page_size": _PAGE_SIZE})
        with self._parsing(answer):
            return next((str(found["id"]) for found in answer["result"] if found["name"] == name), None)

    @override
    def create(self, name: str, campaign: Campaign) -> str:
        answer = self._call("POST", "/campaigns", json=_request_body(name, campaign))
        with self._parsing(answer):
            return str(answer["result"]["id"])

    @override
    def play(self, external_id: str) -> None:
        self._set("/campaigns/play", external_id)

    @override
    def stop(self, external_id: str) -> None:
        self._set("/campaigns/stop", external_id)

    @override
    def set_budget(self, external_id: str, budget_micros: int) -> None:
        self._call("PATCH", f"/campaigns/{int(external_id)}", json={"total_amount": _number(budget_micros)})

    @override
    def budget_micros(self, external_id: str) -> int:
        answer = self._call("GET", f"/campaigns/{int(external_id)}")
        with self._parsing(answer):
            return from_decimal(Decimal(answer["result"]["total_amount"]))

    @override
    def statistics(self, external_ids: Sequence[str], first: date, last: date) -> Mapping[str, Mapping[Slot, Figures]]:
        body = {
            "day_from": first.isoformat(),
            "day_to": last.isoformat(),
            "group_by": ["campaign_id", "day", "zone_id"],
            "campaign_id": [int(id) for id in external_ids],
            "page_size": _PAGE_SIZE,
        }
        found: dict[str, dict[Slot, Figures]] = {id: {} for id in external_ids}
        seen = 0
        for page in range(1, _MAX_PAGES + 1):
            answer = self._call("POST", "/statistics", json=body | {"page": page})
            with self._parsing(answer):
                for row in answer["result"]:
                    slot, figures = _row(row)
                    slots = found[str(row["campaign_id"])]
                    slots[slot] = figures.at_least(slots.get(slot, Figures()))
                seen += len(answer["result"])
                if not answer["result"] or seen >= answer["meta"]["total_items"]:
                    return found
        _log.error("network_statistics_too_many_pages", network=self.code, rows=seen)
        raise NetworkUnavailable(self.code)

    def _set(self, path: str, external_id: str) -> None:
        answer = self._call("PUT", path, json={"campaign_ids": [int(external_id)]})
        with self._parsing(answer):
            if int(external_id) not in answer["result"]["success"]:
                raise NetworkRejected(self.code, "it no longer accepts the campaign")

    def _call(self, method: str, path: str, **content: Any) -> Any:
        limit = remaining_s(_CALL_TIMEOUT_S)
        if limit <= 0:
            raise NetworkUnavailable(self.code)
        timeout = httpx.Timeout(limit, connect=min(limit, _CONNECT_TIMEOUT_S))
        try:
            response = self._http.request(method, path, timeout=timeout, **content)
        except httpx.HTTPError as error:
            _log.warning("network_unavailable", network=self.code, path=path, error=repr(error))
            raise NetworkUnavailable(self.code) from error
        if response.is_client_error and response.status_code not in _TRANSIENT_STATUSES:
            raise NetworkRejected(self.code, _reason(response))
        if not response.is_success:
            _log.warning("network_unavailable", network=self.code, path=path, status=response.status_code)
            raise NetworkUnavailable(self.code)
        with self._parsing(response.text):
            return response.json(parse_float=Decimal)

    @contextmanager
    def _parsing(self, answer: object) -> Iterator[None]:
        """Raises UNAVAILABLE if the block fails because the response does not have the documented shape."""
        try:
            yield
        except (KeyError, TypeError, ValueError, DecimalException) as error:
            _log.error("network_response_invalid", network=self.code, answer=str(answer)[:500])
            raise NetworkUnavailable(self.code) from error


def _request_body(name: str, campaign: Campaign) -> dict[str, Any]:
    targeting: dict[str, Any] = {}
    if campaign.countries:
        targeting["country"] = {"list": campaign.countries, "is_excluded": False}
    if campaign.devices:
        targeting["device_type"] = {"list": [device.lower() for device in campaign.devices], "is_excluded": False}
    body = {
        "name": name,
        "direction": "onclick",
        "rate_model": campaign.bid_model.lower(),
        "target_url": campaign.target_url,
        "total_amount": _number(campaign.budget_micros),
        "currency": campaign.currency_code,
        "rates": [{"countries": campaign.countries, "amount": _number(campaign.price_micros)}],
        "targeting": targeting,
    }
    if campaign.daily_budget_micros:
        body["daily_amount"] = _number(campaign.daily_budget_micros)
    if campaign.start_time:
        body["started_at"] = campaign.start_time.isoformat()
    if campaign.end_time:
        body["expired_at"] = campaign.end_time.isoformat()
    return body


def _number(amount_micros: int) -> float:
    """The amount as a JSON number. A double represents 15 digits exactly, and no amount has more."""
    return float(to_decimal(amount_micros))


def _row(row: Mapping[str, Any]) -> tuple[Slot, Figures]:
    figures = Figures(
        int(row["impressions"]), int(row["clicks"]), int(row["conversions"]), from_decimal(Decimal(row["money"]))
    )
    if min(figures.impressions, figures.clicks, figures.conversions, figures.spend_micros) < 0:
        raise ValueError("negative figures")
    return (date.fromisoformat(row["day"]), str(row["zone_id"] or "")), figures


def _reason(response: httpx.Response) -> str:
    """The network's own error messages."""
    try:
        return "; ".join(str(error["message"]) for error in response.json()["errors"])[:300]
    except (KeyError, TypeError, ValueError):
        return f"HTTP status {response.status_code}"
