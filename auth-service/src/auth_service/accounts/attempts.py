"""Limits on guessing and on mail, counted in Redis: the more attempts there were, the longer the next one must wait."""

import hashlib
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from types import TracebackType
from typing import cast
from uuid import UUID

import grpc
import redis
from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.clock import Clock
from adlib.deadline import deadline
from adlib.errors import AppError, Unavailable


class TooManyAttempts(AppError):
    """The next attempt must wait."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.TOO_MANY_ATTEMPTS

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"there were too many attempts; try again in {math.ceil(wait_s)} s")
        self.retry_after_s = wait_s


class TooManyInvitations(AppError):
    """An organization, or a person in all of theirs, has sent as many as an hour allows."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.TOO_MANY_INVITATIONS

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            f"you or your organization sent {MAX_INVITATIONS_AN_HOUR} invitations within an hour; "
            f"try again in {math.ceil(wait_s)} s",
            limit=MAX_INVITATIONS_AN_HOUR,
        )
        self.retry_after_s = wait_s


@dataclass(frozen=True, slots=True)
class _Limit:
    """`free` attempts need not wait, then five wait 1, 2, 4, 8, 16 s, then all until there was none for `fade_s`."""

    name: str
    free: int
    fade_s: int


_ACCOUNT = _Limit("account", 10, 15 * 60)
_ADDRESS = _Limit("address", 100, 15 * 60)
# Each takes a tenth of a second, and many may sign up from one address: an office, a program that brings its users.
_SIGN_UP = _Limit("sign-up", 1_000, 15 * 60)
_MAIL = _Limit("mail", 5, 60 * 60)
# Beside that of passwords: whoever cannot sign in because of a neighbour's guesses can still reset theirs.
_MAIL_ADDRESS = _Limit("mail-address", 100, 15 * 60)
# Beside the others, so that nobody keeps somebody from resetting their password by inviting them.
_INVITATION = _Limit("invitation", 5, 60 * 60)
# Of an organization, and of a person in all of theirs, to however many mailboxes: what they say is the sender's choice.
MAX_INVITATIONS_AN_HOUR = 100
_HOUR_S = 60 * 60

# How long a password may take to be compared; an attempt that was not settled by then was never answered.
_LEASE_S = 60
# Attempts wait for those under way that may turn out right, some 50 ms each; a call without a deadline has 15 s.
_LINE_S = 12.0
_POLL_S = 0.02
# Kept back from the caller's deadline for the comparison itself.
_MARGIN_S = 1.0
# Not the caller's fault: nothing was tried, or it is unknown whether it was.
_PLATFORM_FAULTS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
    }
)

# How many attempts a counter has, and how long the next one must wait in ms.
_READ = """
local function read(key, free, fade)
  local kept = redis.call('HMGET', key, 'n', 'last')
  local n, last = tonumber(kept[1] or 0), tonumber(kept[2] or 0)
  if now - last >= fade then n = 0 end
  local step = n - free
  local due = step < 0 and 0 or last + (step < 5 and 2 ^ step * 1000 or fade)
  return n, math.max(0, due - now)
end
local function count(key, n, fade)
  redis.call('HSET', key, 'n', n, 'last', now)
  redis.call('PEXPIRE', key, fade)
end
"""
# KEYS: the counters; ARGV: now in ms, then `free` and `fade_s` of each. Answers how long to wait in ms, and counts
# everywhere or, where that is not 0, nowhere: a refused attempt does not prolong it. All in one script, so that
# attempts made at the same time are counted before any of them is allowed.
_COUNT = f"""
local now, wait, counted = tonumber(ARGV[1]), 0, {{}}
{_READ}
for i, key in ipairs(KEYS) do
  local n, its_wait = read(key, tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1]) * 1000)
  counted[i], wait = n + 1, math.max(wait, its_wait)
end
if wait > 0 then return math.ceil(wait) end
for i, key in ipairs(KEYS) do count(key, counted[i], tonumber(ARGV[2 * i + 1]) * 1000) end
return 0
"""
# KEYS: the counters; each gets one attempt less.
_GIVE_BACK = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('HGET', key, 'n') or 0) > 0 then redis.call('HINCRBY', key, 'n', -1) end
end
return 0
"""
# KEYS: each counter and its attempts under way; ARGV: now in ms, the attempt, its lease in ms, then `free` and `fade_s`
# of each. Answers how long to wait in ms, -1 where those under way may use up what is left, or 0: the attempt is under
# way. Wrong ones are counted when they are settled, so right ones at the same time do not stand in each other's way.
_BEGIN = f"""
local now, id, lease = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local wait, full = 0, false
{_READ}
for i = 1, #KEYS, 2 do
  local free = tonumber(ARGV[3 + i])
  local n, its_wait = read(KEYS[i], free, tonumber(ARGV[4 + i]) * 1000)
  wait = math.max(wait, its_wait)
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now - lease)
  redis.call('ZREM', KEYS[i + 1], id)
  full = full or redis.call('ZCARD', KEYS[i + 1]) >= math.max(free - n, 1)
end
if wait > 0 then return math.ceil(wait) end
if full then return -1 end
for i = 1, #KEYS, 2 do
  redis.call('ZADD', KEYS[i + 1], now, id)
  redis.call('PEXPIRE', KEYS[i + 1], lease)
end
return 0
"""
# KEYS and ARGV as above, but instead of the lease 1 where the attempt was wrong and is counted. Answers whether it was
# under way; one that was not is counted no second time.
_SETTLE = f"""
local now, id, is_wrong = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local was_open = false
{_READ}
for i = 1, #KEYS, 2 do
  if redis.call('ZREM', KEYS[i + 1], id) == 1 then
    was_open = true
    local fade = tonumber(ARGV[4 + i]) * 1000
    if is_wrong then count(KEYS[i], read(KEYS[i], tonumber(ARGV[3 + i]), fade) + 1, fade) end
  end
end
return was_open and 1 or 0
"""
# KEYS: the times of what was done; ARGV: now in ms, this one's name, the window in ms, how many may be in it. Answers
# how long to wait in ms, and adds this one everywhere or, where that is not 0, nowhere.
_TAKE = """
local now, window, most, wait = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), 0
for _, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  if redis.call('ZCARD', key) >= most then
    wait = math.max(wait, redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] + window - now)
  end
end
if wait > 0 then return math.ceil(wait) end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now, ARGV[2])
  redis.call('PEXPIRE', key, window)
end
return 0
"""


class Counted:
    """An attempt that was counted. As a context, it is given back where the platform fails in it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self.give_back = give_back

    def __enter__(self) -> None:
        """It was counted before."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Gives the attempt back unless it went well or the caller is at fault."""
        if error and (not isinstance(error, AppError) or error.code in _PLATFORM_FAULTS):
            # The failure is what the caller hears of; an attempt too many is forgotten after a while.
            with suppress(Unavailable):
                self.give_back()


class PasswordAttempt:
    """A password that is being compared. What it showed is only answered once it is settled."""

    def __init__(self, settle: Callable[[bool], None], forget: Callable[[], None]) -> None:
        self._settle = settle
        self._forget = forget
        self.is_settled = False

    def failed(self) -> None:
        """The password was wrong: counts the attempt; UNAVAILABLE where that cannot be done any more."""
        self._settle(True)
        self.is_settled = True

    def succeeded(self) -> None:
        """The password was right: forgets the account's attempts, and of the address only this one.

        Only this one: with an account of one's own one could otherwise guess at others', signing in from time to time.
        """
        self._settle(False)
        self._forget()
        self.is_settled = True


class Attempts:
    """Counts attempts by account, whether it exists or not, and by address; UNAVAILABLE while Redis does not answer."""

    def __init__(self, shared: redis.Redis, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock
        self._count_script = shared.register_script(_COUNT)
        self._give_back_script = shared.register_script(_GIVE_BACK)
        self._begin_script = shared.register_script(_BEGIN)
        self._settle_script = shared.register_script(_SETTLE)
        self._take_script = shared.register_script(_TAKE)

    @contextmanager
    def at_password(self, email: str, address: str) -> Iterator[PasswordAttempt]:
        """Around the comparison of a password; TOO_MANY_ATTEMPTS.

        Where those under way could use up what is free, it waits for them, 12 s at most: right passwords do not stand
        in each other's way, and of wrong ones at the same time no more get through than one after the other. What is
        not settled in the block was not compared, and is not counted.
        """
        counters = _known((_ACCOUNT, email), (_ADDRESS, _whose(address)))
        id = secrets.token_hex(8)
        self._begin(id, counters)
        attempt = PasswordAttempt(lambda is_wrong: self._settle(id, counters, is_wrong), lambda: self.released(email))
        try:
            yield attempt
        finally:
            if not attempt.is_settled:
                # Where it cannot be withdrawn it ends by itself, uncounted.
                with suppress(Unavailable):
                    self._settle(id, counters, is_wrong=False)

    def at_sign_up(self, address: str) -> Counted:
        """Before a new password is judged and hashed for a stranger; TOO_MANY_ATTEMPTS."""
        return self._count((_SIGN_UP, _whose(address)))

    def at_mail(self, email: str, address: str) -> Counted:
        """Before a mail is sent that anybody can ask for; TOO_MANY_ATTEMPTS."""
        return self._count((_MAIL, email), (_MAIL_ADDRESS, _whose(address)))

    def at_invitation(self, email: str, organization_id: UUID, user_id: UUID) -> Counted:
        """Before this person invites this e-mail to the organization; TOO_MANY_INVITATIONS, TOO_MANY_ATTEMPTS."""
        id = secrets.token_hex(8)
        senders = ("organization", organization_id), ("person", user_id)
        keys = [f"attempts:invitations-of-{kind}:{sender}" for kind, sender in senders]
        arguments: list[int | str] = [self._now_ms(), id, _HOUR_S * 1000, MAX_INVITATIONS_AN_HOUR]
        with _translated():
            wait_ms = cast("int", self._take_script(keys=keys, args=arguments))
        if wait_ms:
            raise TooManyInvitations(wait_ms / 1000)
        try:
            mailbox = self._count((_INVITATION, email))
        except AppError:
            self._drop(keys, id)
            raise

        def give_back() -> None:
            self._drop(keys, id)
            mailbox.give_back()

        return Counted(give_back)

    def released(self, email: str) -> None:
        """The account has a new password: forgets its attempts."""
        with _translated():
            self._shared.delete(_key(_ACCOUNT, email))

    def _count(self, *counters: tuple[_Limit, str]) -> Counted:
        known = _known(*counters)
        keys = [_key(limit, whose) for limit, whose in known]
        with _translated():
            wait_ms = cast("int", self._count_script(keys=keys, args=[self._now_ms(), *_numbers(known)]))
        if wait_ms:
            raise TooManyAttempts(wait_ms / 1000)
        return Counted(lambda: self._give_back(keys))

    def _give_back(self, keys: list[str]) -> None:
        with _translated():
            self._give_back_script(keys=keys)

    def _drop(self, keys: list[str], id: str) -> None:
        with _translated():
            for key in keys:
                self._shared.zrem(key, id)

    def _begin(self, id: str, counters: list[tuple[_Limit, str]]) -> None:
        until = min(time.monotonic() + _LINE_S, deadline.get() - _MARGIN_S)
        while True:
            arguments: list[int | str] = [self._now_ms(), id, _LEASE_S * 1000, *_numbers(counters)]
            with _translated():
                wait_ms = cast("int", self._begin_script(keys=_keys_with_open(counters), args=arguments))
            if wait_ms == 0:
                return
            if wait_ms > 0:
                raise TooManyAttempts(wait_ms / 1000)
            if time.monotonic() >= until:
                raise Unavailable("too many people are signing in right now; try again")
            time.sleep(_POLL_S)

    def _settle(self, id: str, counters: list[tuple[_Limit, str]], is_wrong: bool) -> None:
        arguments: list[int | str] = [self._now_ms(), id, int(is_wrong), *_numbers(counters)]
        with _translated():
            was_open = self._settle_script(keys=_keys_with_open(counters), args=arguments)
        if not was_open:
            raise Unavailable("the password took too long to check; try again")

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def _known(*counters: tuple[_Limit, str]) -> list[tuple[_Limit, str]]:
    """An address that is not known is everybody's."""
    return [(limit, whose) for limit, whose in counters if whose]


def _numbers(counters: list[tuple[_Limit, str]]) -> list[int]:
    return [number for limit, _ in counters for number in (limit.free, limit.fade_s)]


def _keys_with_open(counters: list[tuple[_Limit, str]]) -> list[str]:
    return [key for limit, whose in counters for key in (_key(limit, whose), f"{_key(limit, whose)}:open")]


def _whose(address: str) -> str:
    """Whose address it is: whoever has an IPv6 address has the 2^64 of its network."""
    if ":" not in address:
        return address
    six = IPv6Address(address.partition("%")[0])
    return str(six.ipv4_mapped or IPv6Network((six, 64), strict=False))


def _key(limit: _Limit, whose: str) -> str:
    return f"attempts:{limit.name}:{hashlib.sha256(whose.encode()).hexdigest()}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        # Never without the limit.
        raise Unavailable("attempts to sign in cannot be counted right now; try again") from error
