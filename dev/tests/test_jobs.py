import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from apscheduler.triggers.cron import CronTrigger
from typer.testing import CliRunner

from adctl import ports
from adctl.__main__ import app
from adctl.keys import SCHEDULER, Keys
from adctl.operations import jobs
from adctl.operations.scheduler import build
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


def test_job_result_is_returned(gateway: str) -> None:
    done = jobs.run(gateway, job("good"), lambda service: f"token-for-{service}")
    assert done == {"success": True, "stats": {"total": 3}}
    assert Gateway.tokens[-1] == "Bearer token-for-campaign-service"


def test_run_prints_each_failed_item_with_its_reason(
    gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize(("name", "message"), [("busy", "409: another runner is at it"), ("text", "502: bad gateway")])
def test_refused_job_raises_the_gateways_message(gateway: str, name: str, message: str) -> None:
    with pytest.raises(jobs.JobError, match=message):
        jobs.run(gateway, job(name), lambda service: "t0ken")


def test_unreachable_gateway_asks_whether_the_platform_is_up() -> None:
    with pytest.raises(jobs.JobError, match="is the platform up"):
        jobs.run(f"http://{ports.LOOPBACK}:{ports.free_port()}", job("good"), lambda service: "t0ken")


def test_scheduler_runs_every_job_at_the_times_of_the_contract(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    scheduler = build({"GATEWAY_URL": "http://localhost", "SERVICE_KEY_FILE": str(keys.of(SCHEDULER))})
    wanted = {one.name: str(CronTrigger.from_crontab(one.schedule, timezone="UTC")) for one in jobs.find().values()}
    assert {one.id: str(one.trigger) for one in scheduler.get_jobs()} == wanted


def test_cloud_scheduler_calls_every_job_at_the_times_of_the_contract() -> None:
    parent = "projects/ads/locations/europe-west1"
    command = ["jobs", "cloud-scheduler", parent, "https://api.example.com/", "scheduler@ads.iam.gserviceaccount.com"]
    printed = {one["name"]: one for one in json.loads(CliRunner().invoke(app, command).output)}
    assert {name: one["schedule"] for name, one in printed.items()} == {
        f"{parent}/jobs/{one.name}": one.schedule for one in jobs.find().values()
    }
    assert {one["timeZone"] for one in printed.values()} == {"Etc/UTC"}
    target = printed[f"{parent}/jobs/sync-stats"]["httpTarget"]
    assert (target["httpMethod"], target["uri"]) == ("POST", "https://api.example.com/jobs/sync-stats")
    assert base64.b64decode(target["body"]) == b"{}"
    assert target["oidcToken"] == {
        "serviceAccountEmail": "scheduler@ads.iam.gserviceaccount.com",
        "audience": "campaign-service",
    }


def test_jobs_are_listed_with_their_schedules() -> None:
    lines = CliRunner().invoke(app, ["jobs", "list"]).output.splitlines()
    assert "sync-stats                 */7 * * * *" in lines
    assert len(lines) == len(jobs.find())


def test_job_belongs_to_the_service_of_its_package() -> None:
    assert jobs.named("sync-stats").service == "campaign-service"
    assert {job.service for job in jobs.find().values()} <= set(SERVICES)


def test_sweep_holds_runs_4_minutes_or_more_after_sync_stats() -> None:
    interval, minute = (int(jobs.named(name).schedule.split()[0].strip("*/")) for name in ("sync-stats", "sweep-holds"))
    assert minute % interval >= 4


def test_scheduler_names_missing_variables() -> None:
    with pytest.raises(SystemExit, match="GATEWAY_URL and SERVICE_KEY_FILE"):
        build({})


def test_unknown_job_error_lists_the_known_jobs() -> None:
    with pytest.raises(jobs.JobError, match=", ".join(sorted(jobs.find()))):
        jobs.named("sync")
