"""Limits attempts to guess passwords, to sign up, and to have mail sent."""

import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from uuid import UUID

import grpc
import redis
from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.clock import Clock
from adlib.deadline import deadline
from adlib.errors import AppError, Unavailable
from auth_service.rate_limits.model import (
    ACCOUNT,
    ADDRESS,
    INVITATION,
    MAIL,
    MAIL_ADDRESS,
    MAX_INVITATIONS_PER_HOUR,
    SIGN_UP,
    Counter,
    Limit,
    counters,
    network_of,
)
from auth_service.rate_limits.store import AttemptStore

# An attempt waits for those in progress that may succeed, some 50 ms each; a call without a deadline has 15 s.
_MAX_QUEUED_S = 12.0
_POLL_S = 0.02
# Reserved from the caller's deadline for the comparison itself.
_COMPARE_MARGIN_S = 1.0

# Faults of the platform, not of the caller: nothing was attempted, or the outcome is unknown.
_PLATFORM_FAULTS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
    }
)


class TooManyAttempts(AppError):
    """The next attempt must wait."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.TOO_MANY_ATTEMPTS

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"there were too many attempts; try again in {math.ceil(wait_s)} s")
        self.retry_after_s = wait_s


class TooManyInvitations(AppError):
    """An organization, or a person across their organizations, has sent the maximum number of invitations per hour."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.TOO_MANY_INVITATIONS

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            f"you or your organization sent {MAX_INVITATIONS_PER_HOUR} invitations within an hour; "
            f"try again in {math.ceil(wait_s)} s",
            limit=MAX_INVITATIONS_PER_HOUR,
        )
        self.retry_after_s = wait_s


class CountedAttempt:
    """An attempt that was counted. As a context manager it reverts the count if the platform fails in the block."""

    def __init__(self, uncount: Callable[[], None]) -> None:
        self.uncount = uncount

    def __enter__(self) -> None:
        """Does nothing: the attempt was counted before."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Reverts the count unless the block succeeded or the caller is at fault."""
        if error and _is_platform_fault(error):
            # The caller receives the first error; a count that remains expires with its counter.
            with suppress(Unavailable):
                self.uncount()


class PasswordAttempt:
    """A comparison of a password in progress. Its result must not be returned before it is settled."""

    def __init__(self, settle: Callable[[bool], None], reset_account: Callable[[], None]) -> None:
        self._settle = settle
        self._reset_account = reset_account
        self.is_settled = False

    def fail(self) -> None:
        """Counts the attempt; UNAVAILABLE if its lease has expired."""
        self._settle(True)
        self.is_settled = True

    def succeed(self) -> None:
        """Resets the account's counter and does not count this attempt for the address.

        Otherwise an attacker could guess at other accounts and reset the address by signing in to their own.
        """
        self._settle(False)
        self._reset_account()
        self.is_settled = True


class AttemptLimiter:
    """Limits attempts per account, whether it exists or not, and per address; UNAVAILABLE if Redis does not answer."""

    def __init__(self, shared: redis.Redis, clock: Clock) -> None:
        self._store = AttemptStore(shared, clock)

    @contextmanager
    def password_attempt(self, email: str, address: str) -> Iterator[PasswordAttempt]:
        """Limits the block, which compares a password; TOO_MANY_ATTEMPTS.

        If the attempts in progress could use up the free ones, it waits for them, 12 s at most: concurrent successes do
        not delay each other, and concurrent failures are limited as if they were sequential. An attempt that
        the block does not settle is not counted.
        """
        limited = counters((ACCOUNT, email), (ADDRESS, network_of(address)))
        attempt_id = secrets.token_hex(8)
        self._start(attempt_id, limited)
        attempt = PasswordAttempt(
            lambda has_failed: self._settle(attempt_id, limited, has_failed), lambda: self.reset_account(email)
        )
        try:
            yield attempt
        finally:
            if not attempt.is_settled:
                # If it cannot be withdrawn, its lease expires and it is not counted.
                with suppress(Unavailable):
                    self._settle(attempt_id, limited, has_failed=False)

    def count_sign_up(self, address: str) -> CountedAttempt:
        """Counts a sign-up, before its password is scored and hashed; TOO_MANY_ATTEMPTS."""
        return self._count((SIGN_UP, network_of(address)))

    def count_mail(self, email: str, address: str) -> CountedAttempt:
        """Counts a mail that anybody can request, before it is sent; TOO_MANY_ATTEMPTS."""
        return self._count((MAIL, email), (MAIL_ADDRESS, network_of(address)))

    def count_invitation(self, email: str, organization_id: UUID, user_id: UUID) -> CountedAttempt:
        """Counts an invitation for its sender, organization and mailbox; TOO_MANY_INVITATIONS, TOO_MANY_ATTEMPTS."""
        invitation_id = secrets.token_hex(8)
        wait_ms = self._store.log_invitation(invitation_id, organization_id, user_id)
        if wait_ms:
            raise TooManyInvitations(wait_ms / 1000)
        try:
            mailbox = self._count((INVITATION, email))
        except AppError:
            self._store.remove_invitation(invitation_id, organization_id, user_id)
            raise

        def uncount() -> None:
            self._store.remove_invitation(invitation_id, organization_id, user_id)
            mailbox.uncount()

        return CountedAttempt(uncount)

    def reset_account(self, email: str) -> None:
        """Resets the account's counter: the right password was given, or a new one is being set."""
        self._store.clear(Counter(ACCOUNT, email))

    def _count(self, *limited: tuple[Limit, str]) -> CountedAttempt:
        counted = counters(*limited)
        wait_ms = self._store.count(counted)
        if wait_ms:
            raise TooManyAttempts(wait_ms / 1000)
        return CountedAttempt(lambda: self._store.uncount(counted))

    def _start(self, attempt_id: str, limited: list[Counter]) -> None:
        end = min(time.monotonic() + _MAX_QUEUED_S, deadline.get() - _COMPARE_MARGIN_S)
        while True:
            wait_ms = self._store.start(attempt_id, limited)
            if wait_ms == 0:
                return
            if wait_ms > 0:
                raise TooManyAttempts(wait_ms / 1000)
            if time.monotonic() >= end:
                raise Unavailable("too many people are signing in right now; try again")
            time.sleep(_POLL_S)

    def _settle(self, attempt_id: str, limited: list[Counter], has_failed: bool) -> None:
        if not self._store.settle(attempt_id, limited, has_failed=has_failed):
            raise Unavailable("the password took too long to check; try again")


def _is_platform_fault(error: BaseException) -> bool:
    """Whether the platform, not the caller, is the reason that an attempt failed."""
    return not isinstance(error, AppError) or error.code in _PLATFORM_FAULTS
