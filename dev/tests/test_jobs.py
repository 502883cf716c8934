import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adctl import jobs, ports
from adctl.__main__ import app
from adctl.keys import SCHEDULER, Keys
from adctl.scheduler import SCHEDULES, build
from adctl.state import SERVICES, prepare

FAILED = (
    '{"success": false, "message": "sync-stats: 1 of 23 done",'
    ' "stats": {"total": 23, "successCount": 1, "errorCount": 22, "durationMs": 7, "quarantinedCount": 4},'
    ' "failures": [{"item": "campaign 0190-a", "reason": "the network does not answer"},'
    ' {"item": "campaign 0190-b", "reason": "KeyError: \'id\'"}]}'
)
ANSWERS = {
    "/jobs/good": (200, '{"success": true, "stats": {"total": 3}}'),
    "/jobs/sync-stats": (200, FAILED),
    "/jobs/busy": (409, '{"message": "another runner is at it"}'),
    "/jobs/text": (502, "bad gateway"),
}


class Gateway(BaseHTTPRequestHandler):
    tokens: list[str] = []

    def do_POST(self) -> None:  # the base class names it
        self.tokens.append(self.headers["authorization"])
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    server = ThreadingHTTPServer((ports.LOOPBACK, 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{ports.LOOPBACK}:{server.server_port}"
    server.shutdown()
    server.server_close()


def job(name: str) -> jobs.Job:
    return jobs.Job(name, f"/jobs/{name}", "campaign-service", ("scheduler",))


def test_a_job_answers_what_it_did(gateway: str) -> None:
    done = jobs.run(gateway, job("good"), lambda service: f"token-for-{service}")
    assert done == {"success": True, "stats": {"total": 3}}
    assert Gateway.tokens[-1] == "Bearer token-for-campaign-service"


def test_a_run_names_what_failed_and_why(gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path))
    state = prepare(tmp_path, int(gateway.rsplit(":", 1)[1]))
    state.save()
    Keys(state.paths.keys).make()
    done = CliRunner().invoke(app, ["jobs", "run", "sync-stats"])
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "sync-stats failed",
        "  sync-stats: 1 of 23 done",
        "  23 items, 1 done, 22 failed in 7 ms",
        "  campaign 0190-a: the network does not answer",
        "  campaign 0190-b: KeyError: 'id'",
        "  and 20 more",
        "  4 in quarantine: `adctl payments quarantine list`",
    ]


@pytest.mark.parametrize(("name", "said"), [("busy", "409: another runner is at it"), ("text", "502: bad gateway")])
def test_a_refusal_is_told(gateway: str, name: str, said: str) -> None:
    with pytest.raises(jobs.JobError, match=said):
        jobs.run(gateway, job(name), lambda service: "t0ken")


def test_a_gateway_that_is_down_is_told() -> None:
    with pytest.raises(jobs.JobError, match="is the platform up"):
        jobs.run(f"http://{ports.LOOPBACK}:{ports.free_port()}", job("good"), lambda service: "t0ken")


def test_every_job_of_the_contract_has_its_schedule(tmp_path: Path) -> None:
    found = jobs.find()
    assert {one.path for one in found.values()} == SCHEDULES.keys()
    keys = Keys(tmp_path)
    keys.make()
    scheduler = build({"GATEWAY_URL": "http://localhost", "SERVICE_KEY_FILE": str(keys.of(SCHEDULER))})
    assert {one.id for one in scheduler.get_jobs()} == found.keys()


def test_a_job_knows_whose_it_is() -> None:
    assert jobs.named("sync-stats").service == "campaign-service"
    assert {job.service for job in jobs.find().values()} <= set(SERVICES)


def test_holds_are_swept_some_minutes_after_campaigns_that_deliver_were_changed() -> None:
    every, swept = (int(SCHEDULES[f"/jobs/{name}"].split()[0].strip("*/")) for name in ("sync-stats", "sweep-holds"))
    assert swept % every >= 4


def test_the_scheduler_names_what_it_misses() -> None:
    with pytest.raises(SystemExit, match="GATEWAY_URL and SERVICE_KEY_FILE"):
        build({})


def test_an_unknown_job_lists_the_known() -> None:
    known = (
        "purge-expired, purge-expired-campaign, purge-expired-payment, purge-expired-pixel, purge-expired-publisher, "
        "settle-payments, sweep-holds, sync-publisher-balances, sync-stats"
    )
    with pytest.raises(jobs.JobError, match=known):
        jobs.named("sync")
