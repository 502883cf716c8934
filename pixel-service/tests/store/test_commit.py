"""The collector and a Valkey that is frozen: a clear refusal at once, and the bus is used again by itself."""

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
from pixel_service.collector.commit import GroupCommit


class Counted(redis.asyncio.Redis):
    """Counts how often it is asked."""

    asked = 0

    async def eval(self, *arguments: Any) -> Any:
        self.asked += 1
        return await super().eval(*arguments)


def test_what_a_frozen_valkey_cannot_store_is_refused_at_once(tmp_path: Path) -> None:
    now = [0.0]

    async def scenario(valkey: ValkeyServer) -> None:
        client = Counted.from_url(valkey.url(), socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
        breaker = CircuitBreaker("collector-test", failures=1, clock=lambda: now[0])
        log = GroupCommit(client, "collected", breaker=breaker)
        await log.append(b"before")
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            for number in range(50):
                with pytest.raises(Unavailable, match="could not be stored"):
                    await log.append(b"%d" % number)
            assert client.asked == 2, "only the first of them waited"
            now[0] += 1
            with pytest.raises(Unavailable):
                await log.append(b"tries")
            assert client.asked == 3
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
