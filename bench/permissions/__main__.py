"""The permission check beside Casbin's, on the same rights, in one run."""

import os
import tempfile
import time
from pathlib import Path
from uuid import UUID

import redis
from adplatform.options.v1.options_pb2 import Permission
from bench.permissions import casbin_peer, client_side_caching
from bench.permissions.casbin_peer import Casbin
from bench.permissions.client_side_caching import Findings
from bench.permissions.measure import Figure, timed
from bench.permissions.platform import Platform, platform
from bench.permissions.rights import Question, members, questions
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from adctl.embedded.valkey import ValkeyServer
from adlib import permissions
from adlib.access import AccessSource, CachedAccess
from adlib.identity import CachedKeys, Person, Verifier, parse_jwks
from adlib.rpc.authorization import authorized
from adlib.rpc.call import Call
from adlib.rpc.contract import Rule
from adlib.rpc.interceptors import Handler

_MS = 1_000.0
_ROUNDS = 5
_SAMPLE = 1_000


def main() -> None:
    started = time.monotonic()
    console = Console(width=max(Console().width, 110))
    with platform() as running:
        console.print(f"PostgreSQL filled in {time.monotonic() - started:.0f} s")
        _empty(running)
        figures = [*_in_process(running), *_from_redis(running), *_cold(running)]
        engines = {"Casbin Enforcer": Casbin(fast=False), "Casbin FastEnforcer": Casbin(fast=True)}
        hot = _hot()
        asked = [[casbin_peer.request(question) for question in hot]] * (_ROUNDS + 1)
        peers = [timed(f"{name}.enforce", engine.enforce, asked) for name, engine in engines.items()]
        _compare_answers(running, engines)
    with (
        tempfile.TemporaryDirectory(prefix="bench-caching-") as folder,
        ValkeyServer(Path(folder), fsync=False) as valkey,
    ):
        findings = client_side_caching.measure(valkey)
    console.print(_table([*figures, findings.hit, *peers], peer=peers[0]))
    console.print(f"Both engines gave the same {_SAMPLE} answers, each asked five ways.")
    for name, engine in engines.items():
        console.print(f"{name}: 300,000 memberships loaded in {engine.load_s:.1f} s, {engine.load_mb:.0f} MB more.")
    own = ", ".join(f"{count:,} in {took:.2f} s" for count, took in casbin_peer.own_loading_s([3_000, 6_000]).items())
    console.print(f"That skips its check for duplicates, which is quadratic: {own}.")
    _print_findings(console, findings)
    console.print(
        f"{time.monotonic() - started:.0f} s; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )


def _hot() -> list[Question]:
    """Questions about ten people, as one process has within half a second."""
    return questions(2_000, people=10)


def _in_process(running: Platform) -> list[Figure]:
    cached = running.cached()
    asked = [(one.person, one.organization_id, permissions.mask([one.permission])) for one in _hot()]

    def decide(person: Person, organization_id: UUID, required: int) -> bool:
        return permissions.satisfies(cached.access(person, organization_id).permissions, required_all=required)

    decision = timed("warm: the decision alone", decide, [asked] * 21, 5.0)
    handle, calls = _authorization(running, cached)
    whole = timed("warm: token, organization and decision", handle, [calls] * 21, 5.0)
    return [decision, whole]


def _authorization(running: Platform, cached: CachedAccess) -> tuple[Handler, list[tuple[Message, Call]]]:
    """A service's authorization of a call, and calls that it admits."""
    identities = running.identities
    keys = CachedKeys(lambda: parse_jwks(identities.user_jwks()))
    verifier = Verifier("bench", user_keys=keys, service_keys={})
    rule = Rule(required_all=permissions.mask([Permission.REPORTS_READ]))
    headers = [
        {"authorization": f"Bearer {identities.token(person)}", "organization-id": str(organization_id)}
        for person, organization_id in members(30, seed=3)
    ]
    calls = [(Message(), Call("bench", metadata, "bench")) for metadata in headers * 60]
    return authorized(rule, verifier, cached, lambda request, _call: request), calls


def _from_redis(running: Platform) -> list[Figure]:
    rounds = [members(400, seed) for seed in range(_ROUNDS)]
    for pairs in rounds:
        before = running.cached()
        for pair in pairs:
            before.access(*pair)
    empty = running.cached()
    return [timed("Redis hit (one MGET of six keys)", empty.access, rounds, 1 * _MS)]


def _cold(running: Platform) -> list[Figure]:
    figures = []
    _empty(running)
    sources: dict[str, AccessSource] = {
        "cold: the SQL join": running.source,
        "cold: the SQL join through gRPC": running.remote,
        "cold: Redis, gRPC, SQL, stored in Redis": running.cached(),
    }
    for number, (name, source) in enumerate(sources.items()):
        for pair in members(50, seed=99):
            source.access(*pair)
        rounds = [members(400, 10 + number * _ROUNDS + seed) for seed in range(_ROUNDS)]
        figures.append(timed(name, source.access, rounds, 5 * _MS, p95=True))
    return figures


def _empty(running: Platform) -> None:
    with redis.Redis.from_url(running.valkey.url()) as client:
        client.flushall()


def _held(source: AccessSource, question: Question) -> int:
    return source.access(question.person, question.organization_id).permissions


def _compare_answers(running: Platform, engines: dict[str, Casbin]) -> None:
    """Checks that both engines give the same answers, ours by SQL, gRPC and the cache."""
    sources: dict[str, AccessSource] = {"SQL": running.source, "gRPC": running.remote, "cache": running.cached()}
    allowed = 0
    for question in questions(_SAMPLE, seed=7):
        required = permissions.mask([question.permission])
        answers = {
            name: permissions.satisfies(_held(source, question), required_all=required)
            for name, source in sources.items()
        } | {name: engine.allows(question) for name, engine in engines.items()}
        assert len(set(answers.values())) == 1, f"{question}: {answers}"
        allowed += answers["SQL"]
    assert 0 < allowed < _SAMPLE


def _table(figures: list[Figure], peer: Figure) -> Table:
    table = Table(title="Permission check, 100,000 people x 3 organizations; µs a call", title_justify="left")
    table.add_column("what")
    for heading in ("p50", "p95", "target", "met", "Casbin takes"):
        table.add_column(heading, justify="right")
    for figure in figures:
        target = ""
        if figure.target_us is not None:
            target = f"{figure.target_us:,.0f}{' at p95' if figure.target_is_p95 else ''}"
        met = "" if figure.target_us is None else "yes" if figure.meets_target else "no"
        times = peer.p50_us / figure.p50_us
        ratio = f"{times:,.0f} x" if times >= 10 else f"{times:.2g} x"
        table.add_row(figure.name, f"{figure.p50_us:,.1f}", f"{figure.p95_us:,.1f}", target, met, ratio)
    return table


def _print_findings(console: Console, findings: Findings) -> None:
    console.print("redis-py's client-side caching on this Valkey:")
    for line in (
        f"unmodified: {findings.refusal}",
        "with the server name check disabled (the table shows one thread):",
        f"a change is seen {findings.seen_after.p50_us:,.0f} µs later, by the next call of the client",
        f"a change of one of 9,000 cached keys costs the next call {findings.invalidation.p50_us:,.0f} µs",
        f"four threads and a key that changes ten times a second: {findings.hits_per_s:,.0f} answers/s, "
        f"and {findings.stuck} of the threads are still blocked five seconds later",
        f"Valkey stopped: {findings.while_away}",
        f"started again: {findings.after_return}",
    ):
        console.print(f"  - {line}", highlight=False)


if __name__ == "__main__":
    main()
