"""Whether every micro is where it should be, once everything has been healed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc

from adtesting import eventually

from .chaos_people import Told
from .chaos_world import SERVICE, World

_MICROS = 10_000  # of a cent
_ROUNDS_S = 90.0
# As if minutes had gone by: what waits for its turn has it, and who was killed is known to be gone.
_AGE = (
    "UPDATE payments SET created_at = created_at - interval '2 min', checked_at = '2020-01-01'",
    "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'",
    "UPDATE procrastinate_workers SET last_heartbeat = '2020-01-01' WHERE last_heartbeat < now() - interval '8 s'",
)
# What must come to nothing.
_WAITING = """
SELECT
    (SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')),
    (SELECT count(*) FROM webhook_events WHERE booked_at IS NULL),
    (SELECT count(*) FROM payments WHERE external_id IS NULL AND state IN ('PENDING', 'PROCESSING')),
    (SELECT count(*) FROM refunds WHERE state = 'PENDING')
"""
_FIGURES = """
SELECT
    (SELECT count(*) FROM transfers), (SELECT count(*) FROM webhook_events),
    (SELECT json_object_agg(state, n)::text FROM (SELECT state, count(*) AS n FROM payments GROUP BY 1 ORDER BY 1) s)
"""


@dataclass(frozen=True)
class Stripe:
    """What Stripe says, by payment: what came in, went back and is in dispute, in micros; and whose intents it has."""

    intents: Mapping[str, list[dict[str, Any]]]
    paid: Mapping[str, int]
    refunded: Mapping[str, int]
    disputed: Mapping[str, int]


def settle(world: World) -> int:
    """Runs the job until nothing waits and nothing changes any more; how often."""
    jobs = payment_pb2_grpc.PaymentJobsServiceStub(world.channel)
    rounds, before = 0, None
    with psycopg.connect(world.state.database_url(SERVICE), autocommit=True) as sql:

        def is_quiet() -> bool:
            nonlocal rounds, before
            rounds += 1
            for statement in _AGE:
                sql.execute(statement.encode())
            try:
                result = jobs.SettlePayments(
                    pb.SettlePaymentsRequest(), metadata=world.service_headers("scheduler"), timeout=60
                )
            except grpc.RpcError as error:
                raise AssertionError(f"the job answers {error.code()}: {error.details()}") from error
            waiting = sql.execute(_WAITING).fetchone()
            last, before = before, sql.execute(_FIGURES).fetchone()
            if not result.success or any(waiting or ()) or before != last:
                raise AssertionError(f"{result.message} {waiting} {before}")
            return True

        eventually(is_quiet, within_s=_ROUNDS_S, every_s=0.3)
    return rounds


def stripe(world: World) -> Stripe:
    """Reads it all from Stripe's API."""
    intents: dict[str, list[dict[str, Any]]] = {}
    paid: dict[str, int] = {}
    payment_of: dict[str, str] = {}
    for intent in _every(world, "payment_intents"):
        payment_id = str(intent["metadata"]["payment_id"])
        payment_of[str(intent["id"])] = payment_id
        intents.setdefault(payment_id, []).append(intent)
        if intent["status"] == "succeeded":
            paid[payment_id] = paid.get(payment_id, 0) + intent["amount_received"] * _MICROS
    going = [one for one in _every(world, "refunds") if one["status"] in ("pending", "succeeded")]
    asked_back = [one for one in _every(world, "disputes") if one["status"] != "won"]
    return Stripe(intents, paid, _sums(going, payment_of), _sums(asked_back, payment_of))


def _sums(objects: list[dict[str, Any]], payment_of: Mapping[str, str]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in objects:
        payment_id = payment_of[one["payment_intent"]]
        sums[payment_id] = sums.get(payment_id, 0) + one["amount"] * _MICROS
    return sums


def _every(world: World, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = {"starting_after": found[-1]["id"]} if found else {}
        page = world.stripe.get(f"/v1/{kind}", params={"limit": 100, **after}).raise_for_status().json()
        found += page["data"]
        if not page["has_more"]:
            return found


def judge(world: World, told: Told) -> tuple[dict[str, int], list[str]]:
    """Figures to show, and everything that is wrong."""
    outside = stripe(world)
    wrong = list(told.faults)
    with psycopg.connect(world.state.database_url(SERVICE), autocommit=True) as sql:
        payments = {
            str(row[0]): row[1:]
            for row in sql.execute(
                "SELECT id, idempotency_key, amount_micros, state, paid_micros, refunded_micros, disputed_micros,"
                " external_id FROM payments"
            )
        }
        credited: dict[str, list[int]] = {}
        for reference, amount in sql.execute(
            "SELECT reference::text, amount_micros FROM transfers WHERE kind = 'DEPOSIT'"
        ):
            credited.setdefault(reference, []).append(amount)
        refunds = {row[0] for row in sql.execute("SELECT id::text FROM refunds")}
    for payment_id in payments.keys() | outside.intents.keys() | credited.keys():
        wrong += [f"payment {payment_id}: {what}" for what in _of_payment(payment_id, payments, outside, credited)]
    for payment_id, (key, amount_micros) in told.payments.items():
        if payments.get(payment_id, ("", 0))[:2] != (key, amount_micros):
            wrong.append(f"payment {payment_id} was answered and is not there")
    keys = [row[0] for row in payments.values()]
    wrong += [f"{len(keys) - len(set(keys))} payments were made twice"] if len(keys) != len(set(keys)) else []
    wrong += [f"refund {one} was answered and is not there" for one in told.refunds - refunds]
    wrong += _books(world)
    figures = {
        "payments": len(payments),
        "credited": len(credited),
        "refunds": len(refunds),
        "disputes": told.disputes,
        "calls": told.calls,
        "repeats": told.repeats,
    }
    return figures, wrong


def _of_payment(
    payment_id: str, payments: Mapping[str, Any], outside: Stripe, credited: Mapping[str, list[int]]
) -> list[str]:
    if payment_id not in payments:
        return ["Stripe or the ledger has it, and there is none"]
    _, amount_micros, state, *figures, external_id = payments[payment_id]
    intents, paid = outside.intents.get(payment_id, []), outside.paid.get(payment_id, 0)
    wrong = []
    if [intent["id"] for intent in intents] != ([external_id] if external_id else []):
        wrong.append(f"is {external_id} here, and at Stripe {[intent['id'] for intent in intents]}")
    if credited.get(payment_id, []) != ([paid] if paid else []):
        wrong.append(f"Stripe has {paid}, and credited was {credited.get(payment_id, [])}")
    if paid not in (0, amount_micros):
        wrong.append(f"{amount_micros} was asked for, and {paid} paid")
    theirs = [paid, outside.refunded.get(payment_id, 0), outside.disputed.get(payment_id, 0)]
    if figures != theirs:
        wrong.append(f"paid, refunded and disputed are {figures}, and at Stripe {theirs}")
    if (state in ("SUCCEEDED", "REFUNDED", "DISPUTED")) != bool(paid):
        wrong.append(f"is {state}, and Stripe has {paid}")
    return wrong


def _books(world: World) -> list[str]:
    ledger = payment_pb2_grpc.LedgerServiceStub(world.channel)
    answer = ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=world.service_headers("operator"), timeout=30)
    return [
        f"the books: {one}"
        for one in answer.currencies
        if one.sum_micros or one.difference_micros or one.overdrawn or one.payments_differing
    ]
