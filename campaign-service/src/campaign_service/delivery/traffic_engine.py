"""TrafficEngine, over its HTTP API (the PropellerAds v5 shape)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal, DecimalException
from http import HTTPStatus
from typing import Any

import httpx

from adlib.money import from_decimal, to_decimal
from adlib.telemetry import logger
from campaign_service.campaigns.model import Campaign
from campaign_service.deadlines import remaining_s
from campaign_service.delivery.network import NetworkRejected, NetworkUnavailable
from campaign_service.stats.model import Figures, Slot

_CALL_S = 2.5
_CONNECT_S = 1.0
_PAGE_SIZE = 1000
# A hundred campaigns over three days in 300 zones each.
_MOST_PAGES = 100
# Client errors that are not the campaign's fault, and may be gone at the next try.
_PASSING = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_log = logger(__name__)


class TrafficEngine:
    """Campaigns are made stopped, found by name, played and stopped by id."""

    code = "TRAFFIC_ENGINE"
    currency_code = "USD"

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/v5/adv",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,  # nothing but the configuration says where calls go
        )

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def find(self, name: str) -> str | None:
        """The id of the campaign of exactly this name, or None."""
        answer = self._call("GET", "/campaigns", params={"name": name, "page_size": _PAGE_SIZE})
        with self._readable(answer):
            return next((str(found["id"]) for found in answer["result"] if found["name"] == name), None)

    def create(self, name: str, campaign: Campaign) -> str:
        """Makes a campaign that does not play yet; its id."""
        answer = self._call("POST", "/campaigns", json=_order(name, campaign))
        with self._readable(answer):
            return str(answer["result"]["id"])

    def play(self, external_id: str) -> None:
        """Lets it deliver."""
        self._set("/campaigns/play", external_id)

    def stop(self, external_id: str) -> None:
        """Ends its delivery."""
        self._set("/campaigns/stop", external_id)

    def set_budget(self, external_id: str, budget_micros: int) -> None:
        """Makes this all that it may ever spend."""
        self._call("PATCH", f"/campaigns/{int(external_id)}", json={"total_amount": _number(budget_micros)})

    def budget_micros(self, external_id: str) -> int:
        """All that it may ever spend, as the network has it."""
        answer = self._call("GET", f"/campaigns/{int(external_id)}")
        with self._readable(answer):
            return from_decimal(Decimal(answer["result"]["total_amount"]))

    def statistics(self, external_ids: Sequence[str], first: date, last: date) -> Mapping[str, Mapping[Slot, Figures]]:
        """Cumulative figures of each campaign by day (UTC) and zone."""
        question = {
            "day_from": first.isoformat(),
            "day_to": last.isoformat(),
            "group_by": ["campaign_id", "day", "zone_id"],
            "campaign_id": [int(id) for id in external_ids],
            "page_size": _PAGE_SIZE,
        }
        found: dict[str, dict[Slot, Figures]] = {id: {} for id in external_ids}
        seen = 0
        for page in range(1, _MOST_PAGES + 1):
            answer = self._call("POST", "/statistics", json=question | {"page": page})
            with self._readable(answer):
                for row in answer["result"]:
                    slot, figures = _row(row)
                    mine = found[str(row["campaign_id"])]
                    mine[slot] = figures.at_least(mine.get(slot, Figures()))
                seen += len(answer["result"])
                if not answer["result"] or seen >= answer["meta"]["total_items"]:
                    return found
        _log.error("network_statistics_too_long", network=self.code, rows=seen)
        raise NetworkUnavailable(self.code)

    def _set(self, path: str, external_id: str) -> None:
        answer = self._call("PUT", path, json={"campaign_ids": [int(external_id)]})
        with self._readable(answer):
            if int(external_id) not in answer["result"]["success"]:
                raise NetworkRejected(self.code, "it does not accept the campaign any more")

    def _call(self, method: str, path: str, **content: Any) -> Any:
        limit = remaining_s(_CALL_S)
        if limit <= 0:
            raise NetworkUnavailable(self.code)
        timeout = httpx.Timeout(limit, connect=min(limit, _CONNECT_S))
        try:
            response = self._http.request(method, path, timeout=timeout, **content)
        except httpx.HTTPError as error:
            _log.warning("network_unavailable", network=self.code, path=path, error=repr(error))
            raise NetworkUnavailable(self.code) from error
        if response.is_client_error and response.status_code not in _PASSING:
            raise NetworkRejected(self.code, _why(response))
        if not response.is_success:
            _log.warning("network_unavailable", network=self.code, path=path, status=response.status_code)
            raise NetworkUnavailable(self.code)
        with self._readable(response.text):
            return response.json(parse_float=Decimal)

    @contextmanager
    def _readable(self, answer: object) -> Iterator[None]:
        """An answer that has not the agreed shape is as good as none."""
        try:
            yield
        except (KeyError, TypeError, ValueError, DecimalException) as error:
            _log.error("network_answer_unreadable", network=self.code, answer=str(answer)[:500])
            raise NetworkUnavailable(self.code) from error


def _order(name: str, campaign: Campaign) -> dict[str, Any]:
    targeting: dict[str, Any] = {}
    if campaign.countries:
        targeting["country"] = {"list": campaign.countries, "is_excluded": False}
    if campaign.devices:
        targeting["device_type"] = {"list": [device.lower() for device in campaign.devices], "is_excluded": False}
    order = {
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
        order["daily_amount"] = _number(campaign.daily_budget_micros)
    if campaign.start_time:
        order["started_at"] = campaign.start_time.isoformat()
    if campaign.end_time:
        order["expired_at"] = campaign.end_time.isoformat()
    return order


def _number(amount_micros: int) -> float:
    """The JSON number that the network wants. A double writes up to 15 digits exactly, and no amount has more."""
    return float(to_decimal(amount_micros))


def _row(row: Mapping[str, Any]) -> tuple[Slot, Figures]:
    figures = Figures(
        int(row["impressions"]), int(row["clicks"]), int(row["conversions"]), from_decimal(Decimal(row["money"]))
    )
    if min(figures.impressions, figures.clicks, figures.conversions, figures.spend_micros) < 0:
        raise ValueError("negative figures")
    return (date.fromisoformat(row["day"]), str(row["zone_id"] or "")), figures


def _why(response: httpx.Response) -> str:
    """What the network says is wrong, in its own words."""
    try:
        return "; ".join(str(error["message"]) for error in response.json()["errors"])[:300]
    except (KeyError, TypeError, ValueError):
        return f"HTTP status {response.status_code}"
