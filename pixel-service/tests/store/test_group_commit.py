"""The collector while Valkey is frozen: it refuses at once, and resumes without a restart."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adctl.embedded.valkey import ValkeyServer
from adlib.breaker import CircuitBreaker
from adlib.errors import Unavailable
from pixel_service.collector.store import GroupCommit


class CountingRedis(redis.asyncio.Redis):
    """Counts commands."""

    commands = 0

    async def eval(self, *arguments: Any) -> Any:
        self.commands += 1
        return await super().eval(*arguments)


def test_messages_are_refused_at_once_while_valkey_is_frozen(tmp_path: Path) -> None:
    now = [0.0]

    async def scenario(valkey: ValkeyServer) -> None:
        client = CountingRedis.from_url(valkey.url(), socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
        breaker = CircuitBreaker("collector-test", failures=1, clock=lambda: now[0])
        log = GroupCommit(client, "collected", breaker=breaker)
        await log.append(b"before")
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            for number in range(50):
                with pytest.raises(Unavailable, match="could not be stored"):
                    await log.append(b"%d" % number)
            assert client.commands == 2, "only the first message waited for the time-out"
            now[0] += 1
            with pytest.raises(Unavailable):
                await log.append(b"trial")
            assert client.commands == 3
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        now[0] += 1
        await log.append(b"after")
        assert not breaker.is_open
        await client.aclose()

    with ValkeyServer(tmp_path, fsync=False) as valkey:
        asyncio.run(scenario(valkey))
        with redis.Redis.from_url(valkey.url()) as shared:
            entries: Any = shared.xrange("bus:collected")
    stored = [fields[b"m"] for _, fields in entries]
    assert (stored[0], stored[-1]) == (b"before", b"after")
