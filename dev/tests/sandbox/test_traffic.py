"""Traffic through the public URLs: the report has exactly the events that arrived, even if answers fail."""

import json
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from adctl.sandboxes.client import SandboxError
from adctl.sandboxes.traffic import postback_key, send_traffic
from adctl.state import State

SIGNING_KEY = "a signing key of at least 32 characters"


@dataclass
class Gateway:
    """Counts events as pixel-service does: all but refused ones."""

    pixel_id: UUID
    key: str = ""
    seen: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    transactions: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    def take(self, path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[str, bool]:
        """Return the event's kind and whether it is a duplicate."""
        kind = path.split("/")[2]
        with self.lock:
            self.seen.append((path, query, headers))
            if kind == "s2s" and query["txid"] in self.transactions:
                return kind, True
            self.transactions.add(query.get("txid", ""))
            self.counted[kind] += 1
            return kind, False


@pytest.fixture
def gateway():
    counting = Gateway(uuid4())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            with counting.lock:
                fault = counting.faults.pop(0) if counting.faults else ""
            if fault == "turned away":
                self.answer(503, {"Retry-After": "0"})
                return
            kind, duplicate = counting.take(parts.path, query, {k.lower(): v for k, v in self.headers.items()})
            if fault == "lost":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif fault == "bare 503":
                self.answer(503, {})
            elif kind == "pixel":
                self.answer(200, {"Content-Type": "image/gif"}, b"GIF89a")
            elif kind == "click":
                self.answer(302, {"Location": f"https://shop.example/?a=1&click_id={uuid4()}.sig"})
            elif query["key"] != counting.key:
                self.answer(403, {"Content-Type": "application/json"}, b'{"reason":"KEY_INVALID"}')
            else:
                body = json.dumps({"eventId": str(uuid4()), "duplicate": duplicate}).encode()
                self.answer(200, {"Content-Type": "application/json"}, body)

        def answer(self, status, headers, body=b""):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    counting.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield counting
    server.shutdown()
    thread.join()
    server.server_close()


class Here(State):
    """A platform state with the URLs of the test's databases."""

    def database_url(self, service):
        return self.secrets[service]


@pytest.fixture
def platform(sandboxes, gateway, fresh_database, tmp_path):
    campaigns, pixels = fresh_database("campaign"), fresh_database("pixel")
    with psycopg.connect(campaigns) as connection:
        connection.execute("CREATE TABLE campaign_networks (campaign_id uuid, network text, external_id text)")
    with psycopg.connect(pixels) as connection:
        connection.execute(
            """
            CREATE TABLE pixels
            (id uuid, campaign_id uuid, created_at timestamptz DEFAULT now(), deleted_at timestamptz)
            """
        )
    secrets = {"clickSigningKey": SIGNING_KEY, "campaign-service": campaigns, "pixel-service": pixels}
    state = Here(tmp_path, gateway.port, sandboxes.ports, secrets)
    gateway.key = postback_key(state, gateway.pixel_id)
    return state


def _network(platform, campaign_id, external_id):
    with psycopg.connect(platform.secrets["campaign-service"]) as connection:
        connection.execute(
            "INSERT INTO campaign_networks VALUES (%s, 'TRAFFIC_ENGINE', %s)", (campaign_id, str(external_id))
        )


def _pixel(platform, campaign_id, pixel_id):
    with psycopg.connect(platform.secrets["pixel-service"]) as connection:
        connection.execute("INSERT INTO pixels (id, campaign_id) VALUES (%s, %s)", (pixel_id, campaign_id))


@pytest.fixture
def campaign(platform, sandboxes, gateway):
    """A playing campaign with a pixel: our id and the network's."""
    body = {
        "name": str(uuid4()),
        "direction": "onclick",
        "rate_model": "cpm",
        "target_url": "https://shop.example/",
        "total_amount": 10,
        "rates": [{"amount": 2.5}],
    }
    external_id = sandboxes.traffic_engine.post("/v5/adv/campaigns", json=body).json()["result"]["id"]
    sandboxes.traffic_engine.put("/v5/adv/campaigns/play", json={"campaign_ids": [external_id]}).raise_for_status()
    campaign_id = uuid4()
    _network(platform, campaign_id, external_id)
    _pixel(platform, campaign_id, gateway.pixel_id)
    return campaign_id, external_id


def _booked(sandboxes, external_id):
    asked = {"day_from": "2020-01-01", "day_to": "2100-01-01", "group_by": ["zone_id"], "campaign_id": [external_id]}
    return sandboxes.traffic_engine.post("/v5/adv/statistics", json=asked).json()["result"]


def test_every_event_arrives_once_and_is_booked_at_the_network(platform, campaign, gateway, sandboxes):
    campaign_id, external_id = campaign
    zone = str(uuid4())
    report = send_traffic(
        platform, campaign_id, impressions=200, clicks=10, conversions=5, zone_id=zone, repeat_conversions=1
    )
    assert report.ok, report
    assert gateway.counted == {"pixel": 200, "click": 10, "s2s": 5}
    assert [(tally.sent, tally.accepted) for tally in report.tallies] == [(200, 200), (10, 10), (5, 5), (1, 1)]
    shown = {query.get("zone") for path, query, _ in gateway.seen if not path.startswith("/track/s2s")}
    assert shown == {zone}
    assert len({headers["user-agent"] for _, _, headers in gateway.seen}) > 3
    figures = {"impressions": 200, "clicks": 10, "conversions": 5, "money": "0.500000"}
    assert _booked(sandboxes, external_id) == [{"zone_id": zone, **figures}]


def test_conversions_share_the_clicks(platform, campaign, gateway):
    report = send_traffic(platform, campaign[0], impressions=0, clicks=1, conversions=3)
    assert report.ok, report
    conversions = [query for path, query, _ in gateway.seen if path == "/track/s2s"]
    assert len({query["click_id"] for query in conversions}) == 1
    assert len({query["txid"] for query in conversions}) == 3


def test_refused_requests_are_retried_and_counted_once(platform, campaign, gateway):
    gateway.faults[:] = ["turned away"] * 10
    report = send_traffic(platform, campaign[0], impressions=30, clicks=0, conversions=0)
    assert report.ok, report
    assert (report.impressions.sent, report.impressions.retried) == (30, 10)
    assert gateway.counted["pixel"] == 30


@pytest.mark.parametrize("fault", ["lost", "bare 503"])
def test_impression_that_may_have_counted_is_reported_and_not_retried(platform, campaign, gateway, fault):
    gateway.faults[:] = [fault]
    report = send_traffic(platform, campaign[0], impressions=5, clicks=0, conversions=0)
    assert not report.ok
    assert (report.impressions.sent, report.impressions.accepted) == (5, 4)
    assert sum(report.impressions.unexpected.values()) == 1
    assert gateway.counted["pixel"] == 5


def test_conversion_with_a_lost_answer_is_retried_and_counts_once(platform, campaign, gateway):
    gateway.faults[:] = ["", "lost", "bare 503"]
    report = send_traffic(platform, campaign[0], impressions=0, clicks=1, conversions=2)
    assert report.ok, report
    assert (report.conversions.accepted, report.conversions.retried) == (2, 2)
    assert gateway.counted["s2s"] == 2


def test_refused_key_is_reported_with_the_answer(platform, campaign, gateway):
    gateway.key = "another"
    report = send_traffic(platform, campaign[0], impressions=0, clicks=1, conversions=2)
    assert not report.ok
    assert dict(report.conversions.unexpected) == {'403 {"reason":"KEY_INVALID"}': 2}


def test_campaign_without_pixel_or_start_is_refused_with_a_remedy(platform, campaign, gateway, sandboxes):
    def refusal(campaign_id, clicks=1, conversions=0):
        with pytest.raises(SandboxError) as refused:
            send_traffic(platform, campaign_id, impressions=1, clicks=clicks, conversions=conversions)
        return str(refused.value)

    assert "there is no campaign" in refusal(uuid4())
    assert "belongs to a click" in refusal(campaign[0], clicks=0, conversions=1)
    unstarted = uuid4()
    _network(platform, unstarted, "")
    assert f"POST /campaigns/{unstarted}/start" in refusal(unstarted)
    bare = uuid4()
    _network(platform, bare, campaign[1])
    assert "create one: POST /pixels" in refusal(bare)
    sandboxes.traffic_engine.put("/v5/adv/campaigns/stop", json={"campaign_ids": [campaign[1]]})
    assert "is not playing at TrafficEngine" in refusal(campaign[0])
    assert not gateway.seen
