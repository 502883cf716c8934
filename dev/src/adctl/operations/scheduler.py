"""Runs the contract's jobs at their times, through the gateway: `python -m adctl.operations.scheduler`."""

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

from adctl.keys import SCHEDULER
from adctl.operations import jobs
from adlib.identity import ServiceIdentity, SignedIdentity, private_key

# A run that is later than this, as after the machine slept, is skipped.
_MAX_LATENESS_S = 60
_log = logging.getLogger("scheduler")


def run_job(gateway_url: str, job: jobs.Job, identity: ServiceIdentity) -> None:
    """Run a job once and log its result; a failure is logged, and the job runs again at its next time."""
    try:
        result = jobs.run(gateway_url, job, identity.token)
    except jobs.JobError as error:
        _log.warning("%s: %s", job.name, error)
        return
    level = logging.INFO if result.get("success") else logging.WARNING
    _log.log(level, "%s: %s", job.name, json.dumps(result))


def build(environment: Mapping[str, str]) -> BlockingScheduler:
    """Return the scheduler with every job that has a schedule and admits the identity `scheduler`.

    Reads GATEWAY_URL and SERVICE_KEY_FILE; SystemExit if one is missing.
    """
    missing = [name for name in ("GATEWAY_URL", "SERVICE_KEY_FILE") if not environment.get(name)]
    if missing:
        raise SystemExit(f"the scheduler needs {' and '.join(missing)} in its environment")
    identity = SignedIdentity(SCHEDULER, private_key(Path(environment["SERVICE_KEY_FILE"]).read_text()))
    scheduler = BlockingScheduler(timezone="UTC")
    for job in jobs.find().values():
        if not job.schedule or SCHEDULER not in job.identities:
            continue
        scheduler.add_job(
            run_job,
            CronTrigger.from_crontab(job.schedule, timezone="UTC"),
            args=(environment["GATEWAY_URL"], job, identity),
            id=job.name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=_MAX_LATENESS_S,
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
    for verbose in ("apscheduler", "httpx"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
    scheduler = build(os.environ)
    signal.signal(signal.SIGTERM, lambda number, frame: scheduler.shutdown(wait=False))
    _log.info("jobs: %s", ", ".join(job.id for job in scheduler.get_jobs()))
    scheduler.start()


if __name__ == "__main__":
    main()
