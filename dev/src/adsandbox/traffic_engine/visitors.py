"""Traffic of browsers and partners' servers through a campaign's public tracking URLs, each event counted once."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx

MAX_CONCURRENT_REQUESTS = 20
MAX_ATTEMPTS = 4
MIN_RETRY_DELAY_S = 0.2
MAX_RETRY_DELAY_S = 2.0
TIMEOUT_S = 15.0

_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1",
)
_LANGUAGES = ("en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "pl-PL,pl;q=0.9,en;q=0.6", "pt-BR,pt;q=0.9")
_IMAGE = {
    "Accept": "image/avif,image/webp,image/*;q=0.8,*/*;q=0.5",
    "Sec-Fetch-Dest": "image",
    "Sec-Fetch-Mode": "no-cors",
}
_PAGE = {
    "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Upgrade-Insecure-Requests": "1",
}


@dataclass(frozen=True)
class Tracked:
    """The target of the traffic: the gateway's URL, the pixel, its postback key and the zone of the ad."""

    gateway_url: str
    pixel_id: str
    postback_key: str
    zone_id: str | None = None


@dataclass
class Tally:
    """The events of one kind that were sent, and their answers."""

    kind: str
    sent: int = 0
    accepted: int = 0
    retried: int = 0
    unexpected: Counter[str] = field(default_factory=Counter)


@dataclass
class TrafficReport:
    """The result of sending traffic; an event counts once, however often it was retried."""

    impressions: Tally = field(default_factory=lambda: Tally("impressions"))
    clicks: Tally = field(default_factory=lambda: Tally("clicks"))
    conversions: Tally = field(default_factory=lambda: Tally("conversions"))
    repeated_conversions: Tally = field(default_factory=lambda: Tally("conversions sent again"))
    booking_error: str = ""

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """The tallies in the order of sending."""
        return self.impressions, self.clicks, self.conversions, self.repeated_conversions

    @property
    def ok(self) -> bool:
        """Whether every answer was the expected one and the network booked the traffic."""
        return not self.booking_error and all(tally.accepted == tally.sent for tally in self.tallies)


async def visit(
    tracked: Tracked, *, impressions: int, clicks: int, conversions: int, repeat_conversions: int = 0
) -> TrafficReport:
    """Send the traffic; conversions use the click ids of the clicks in turn."""
    report = TrafficReport()
    limits = httpx.Limits(max_connections=MAX_CONCURRENT_REQUESTS, max_keepalive_connections=MAX_CONCURRENT_REQUESTS)
    async with httpx.AsyncClient(
        base_url=tracked.gateway_url, timeout=TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        visitors = _Visitors(client, tracked)
        await _run_concurrently(impressions, lambda _: visitors.load_pixel(report.impressions))
        await _run_concurrently(clicks, lambda _: visitors.click(report.clicks))
        if visitors.click_ids:
            await _run_concurrently(
                conversions, lambda number: visitors.convert(report.conversions, number, again=False)
            )
            repeats = min(repeat_conversions, conversions)
            await _run_concurrently(
                repeats, lambda number: visitors.convert(report.repeated_conversions, number, again=True)
            )
        elif conversions:
            report.conversions.sent = conversions
            report.conversions.unexpected["no click was accepted, so there is no click id"] = conversions
    return report


class _Visitors:
    def __init__(self, client: httpx.AsyncClient, tracked: Tracked) -> None:
        self._client = client
        self._tracked = tracked
        self._run = uuid4().hex
        self._shown = f"?{urlencode({'zone': tracked.zone_id})}" if tracked.zone_id else ""
        self.click_ids: list[str] = []

    async def load_pixel(self, tally: Tally) -> None:
        """Load the pixel, as a page with the ad does."""
        path = f"/track/pixel/{self._tracked.pixel_id}{self._shown}"
        answer = await self._send(tally, path, _browser(_IMAGE))
        if answer is None:
            return
        if answer.status_code == 200 and answer.headers.get("content-type") == "image/gif":
            tally.accepted += 1
        else:
            tally.unexpected[_described(answer)] += 1

    async def click(self, tally: Tally) -> None:
        """Click the ad, and store the click id of the redirect, which is not followed."""
        path = f"/track/click/{self._tracked.pixel_id}{self._shown}"
        answer = await self._send(tally, path, _browser(_PAGE))
        if answer is None:
            return
        click_id = parse_qs(urlsplit(answer.headers.get("location", "")).query).get("click_id", [""])[0]
        if answer.status_code == 302 and click_id:
            tally.accepted += 1
            self.click_ids.append(click_id)
        else:
            tally.unexpected[_described(answer)] += 1

    async def convert(self, tally: Tally, number: int, *, again: bool) -> None:
        """Report a conversion as a partner's server, or repeat one with the same transaction id."""
        query = {
            "click_id": self.click_ids[number % len(self.click_ids)],
            "goal": "conversion",
            "txid": f"{self._run}-{number}",
            "key": self._tracked.postback_key,
        }
        retried_before = tally.retried
        headers = {"User-Agent": "PartnerServer/1.0", "Accept": "application/json"}
        answer = await self._send(tally, f"/track/s2s?{urlencode(query)}", headers, is_idempotent=True)
        if answer is None:
            return
        duplicate = _duplicate(answer)
        # An attempt whose answer was lost may have counted; the retry is then correctly answered as a duplicate.
        if duplicate is again or (duplicate and tally.retried > retried_before):
            tally.accepted += 1
        else:
            tally.unexpected[_described(answer)] += 1

    async def _send(
        self, tally: Tally, path: str, headers: dict[str, str], *, is_idempotent: bool = False
    ) -> httpx.Response | None:
        """Send a request; retry it only if the event cannot count twice.

        That is if the request was never sent, was refused, or is idempotent.
        """
        tally.sent += 1
        for attempt in range(MAX_ATTEMPTS):
            is_last = attempt == MAX_ATTEMPTS - 1
            try:
                answer = await self._client.get(path, headers=headers)
            except httpx.HTTPError as error:
                was_never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if is_last or not (was_never_sent or is_idempotent):
                    tally.unexpected[f"{type(error).__name__}: {error}"[:120]] += 1
                    return None
            else:
                # With Retry-After the service did not accept the event; a 503 without it may follow an accepted one.
                was_refused = answer.status_code in (429, 503) and "retry-after" in answer.headers
                if is_last or not (was_refused or (is_idempotent and answer.status_code >= 500)):
                    return answer
            tally.retried += 1
            await asyncio.sleep(min(MIN_RETRY_DELAY_S * 2**attempt, MAX_RETRY_DELAY_S))
        return None


async def _run_concurrently(count: int, act: Callable[[int], Awaitable[None]]) -> None:
    """Call the function `count` times with bounded concurrency."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await act(number)

    await asyncio.gather(*(worker() for _ in range(min(MAX_CONCURRENT_REQUESTS, count))))


def _browser(headers: dict[str, str]) -> dict[str, str]:
    return {
        **headers,
        "User-Agent": random.choice(_BROWSERS),
        "Accept-Language": random.choice(_LANGUAGES),
        "Referer": f"https://news.example/{random.randrange(1000)}",
        "Sec-Fetch-Site": "cross-site",
    }


def _duplicate(answer: httpx.Response) -> bool | None:
    """Return the status in a postback's answer; None for any other answer."""
    if answer.status_code != 200:
        return None
    try:
        body = answer.json()
    except ValueError:
        return None
    # Protobuf's JSON omits fields that are false.
    return body.get("duplicate", False) is True if isinstance(body, dict) and body.get("eventId") else None


def _described(answer: httpx.Response) -> str:
    text = answer.text[:80] if answer.headers.get("content-type", "").startswith(("application/json", "text/")) else ""
    return f"{answer.status_code} {text}".strip()
