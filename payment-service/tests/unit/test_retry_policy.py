"""Whether and when failed tasks are retried."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
import pytest
from adplatform.errors.v1.errors_pb2 import ErrorReason
from procrastinate.jobs import Job
from procrastinate.retry import RetryDecision

from adlib.clock import FixedClock
from adlib.db import UniqueViolated
from adlib.errors import (
    Aborted,
    AppError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    RemoteError,
    Unavailable,
)
from payment_service.task_queue.tasks import RetryPolicy, full_jitter_s, max_delay_s

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def decided(error: BaseException, *, after: timedelta = timedelta(0), attempts: int = 0) -> RetryDecision | None:
    job = Job(
        id=1,
        queue="q",
        lock=None,
        queueing_lock=None,
        task_name="task",
        task_kwargs={"subject": str(uuid4()), "since": SINCE.isoformat()},
        attempts=attempts,
    )
    retry = RetryPolicy(FixedClock(SINCE + after), lambda attempts: 10.0 * attempts)
    return retry.get_retry_decision(exception=error, job=job)


def remote(code: grpc.StatusCode) -> AppError:
    return RemoteError(code, ErrorReason.UNAVAILABLE, "elsewhere", {})


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("away"),
        DeadlineExceeded("slow"),
        Aborted("somebody else"),
        Internal(),
        remote(grpc.StatusCode.UNAVAILABLE),
        UniqueViolated("unforeseen"),
        RuntimeError("unforeseen"),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'code', 'none')}",
)
def test_transient_and_unexpected_errors_are_retried_after_a_delay(error: Exception) -> None:
    decision = decided(error, attempts=3)
    assert decision is not None
    assert decision.retry_at == SINCE + timedelta(seconds=30)


@pytest.mark.parametrize(
    "error",
    [FailedPrecondition("never"), NotFound("nothing"), remote(grpc.StatusCode.PERMISSION_DENIED)],
    ids=lambda error: type(error).__name__,
)
def test_permanent_error_is_not_retried(error: AppError) -> None:
    assert decided(error) is None


def test_retries_end_after_three_days() -> None:
    assert decided(Unavailable("away"), after=timedelta(days=3)) is not None
    assert decided(Unavailable("away"), after=timedelta(days=3, seconds=1)) is None


def test_interrupted_task_is_retried_at_once() -> None:
    decision = decided(asyncio.CancelledError(), after=timedelta(days=9), attempts=9)
    assert decision is not None
    assert decision.retry_at == SINCE + timedelta(days=9)


def test_delays_double_up_to_five_minutes() -> None:
    assert [max_delay_s(attempts) for attempts in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert max_delay_s(10_000) == 300


def test_delays_are_uniform_up_to_the_longest() -> None:
    pauses = [full_jitter_s(6) for _ in range(1000)]
    assert all(0 <= pause <= 64 for pause in pauses)
    assert min(pauses) < 16
    assert max(pauses) > 48
