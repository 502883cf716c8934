"""Runs the jobs of the contract at their times, through the gateway. `python -m adctl.scheduler`."""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger

from adctl import jobs
from adctl.keys import SCHEDULER
from adlib.identity import ServiceIdentity, SignedIdentity, private_key

# Path to crontab expression, in UTC. In the cloud these are Cloud Scheduler's.
SCHEDULES = {
    "/jobs/sync-stats": "*/7 * * * *",
    "/jobs/settle-payments": "*/5 * * * *",
    # Between two of sync-stats: of a campaign that was changed less than two minutes ago nothing can be said.
    "/jobs/sweep-holds": "26 * * * *",
    "/jobs/sync-publisher-balances": "0 1 * * *",
    "/jobs/purge-expired": "30 2 * * *",
    "/jobs/purge-expired-campaign": "32 2 * * *",
    "/jobs/purge-expired-payment": "34 2 * * *",
    "/jobs/purge-expired-publisher": "36 2 * * *",
    "/jobs/purge-expired-pixel": "38 2 * * *",
}
_LATE_SECONDS = 60
_log = logging.getLogger("scheduler")


def scheduled() -> dict[str, jobs.Job]:
    """Return the contract's jobs that have a schedule, by crontab expression's path; one without is told of."""
    found = {job.path: job for job in jobs.find().values()}
    for path in sorted(found.keys() ^ SCHEDULES.keys()):
        _log.warning("%s is in the contract or in the schedules, but not in both", path)
    return {path: job for path, job in found.items() if path in SCHEDULES and SCHEDULER in job.identities}


def run_job(gateway_url: str, job: jobs.Job, identity: ServiceIdentity) -> None:
    """Run a job once and log what it did; a failure is logged and the next time comes."""
    try:
        result = jobs.run(gateway_url, job, identity.token)
    except jobs.JobError as error:
        _log.warning("%s: %s", job.name, error)
        return
    level = logging.INFO if result.get("success") else logging.WARNING
    _log.log(level, "%s: %s", job.name, json.dumps(result))


def build(environment: Mapping[str, str]) -> BlockingScheduler:
    """Return the scheduler with all its jobs; GATEWAY_URL and SERVICE_KEY_FILE say where and as whom."""
    missing = [name for name in ("GATEWAY_URL", "SERVICE_KEY_FILE") if not environment.get(name)]
    if missing:
        raise SystemExit(f"the scheduler needs {' and '.join(missing)} in its environment")
    identity = SignedIdentity(SCHEDULER, private_key(Path(environment["SERVICE_KEY_FILE"]).read_text()))
    scheduler = BlockingScheduler(timezone="UTC")
    for path, job in scheduled().items():
        scheduler.add_job(
            run_job,
            CronTrigger.from_crontab(SCHEDULES[path], timezone="UTC"),
            args=(environment["GATEWAY_URL"], job, identity),
            id=job.name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=_LATE_SECONDS,
        )
    return scheduler


class _JsonLines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        at = self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ")
        return json.dumps({"timestamp": at, "level": record.levelname.lower(), "event": record.getMessage()})


def main() -> None:
    """Run until SIGTERM."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("apscheduler", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    scheduler = build(os.environ)
    signal.signal(signal.SIGTERM, lambda number, frame: scheduler.shutdown(wait=False))
    _log.info("jobs: %s", ", ".join(job.id for job in scheduler.get_jobs()))
    scheduler.start()


if __name__ == "__main__":
    main()
