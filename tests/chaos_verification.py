"""Compares the ledger, the payments and Stripe after the platform has been restored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc

from adtesting import eventually

from .chaos_customers import Observations
from .chaos_platform import SERVICE, ChaosPlatform

_MICROS = 10_000  # of a cent
_SETTLE_TIMEOUT_S = 90.0
# Ages rows by minutes, so that deferred work is due and killed workers are detected.
_AGE = (
    "UPDATE payments SET created_at = created_at - interval '2 min', checked_at = '2020-01-01'",
    "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'",
    "UPDATE procrastinate_workers SET last_heartbeat = '2020-01-01' WHERE last_heartbeat < now() - interval '8 s'",
)
# Unfinished work; every count must become 0.
_UNFINISHED = """
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
    """Stripe's view of each payment: its intents, and the amounts paid, refunded and disputed, in micros."""

    intents: Mapping[str, list[dict[str, Any]]]
    paid: Mapping[str, int]
    refunded: Mapping[str, int]
    disputed: Mapping[str, int]


def settle(platform: ChaosPlatform) -> int:
    """Runs the settlement job until no work is unfinished and no figure changes; returns the number of runs."""
    jobs = payment_pb2_grpc.PaymentJobsServiceStub(platform.channel)
    rounds, before = 0, None
    with psycopg.connect(platform.state.database_url(SERVICE), autocommit=True) as sql:

        def is_quiet() -> bool:
            nonlocal rounds, before
            rounds += 1
            for statement in _AGE:
                sql.execute(statement.encode())
            try:
                result = jobs.SettlePayments(
                    pb.SettlePaymentsRequest(), metadata=platform.service_headers("scheduler"), timeout=60
                )
            except grpc.RpcError as error:
                raise AssertionError(f"the job answers {error.code()}: {error.details()}") from error
            waiting = sql.execute(_UNFINISHED).fetchone()
            last, before = before, sql.execute(_FIGURES).fetchone()
            if not result.success or any(waiting or ()) or before != last:
                raise AssertionError(f"{result.message} {waiting} {before}")
            return True

        eventually(is_quiet, within_s=_SETTLE_TIMEOUT_S, every_s=0.3)
    return rounds


def read_stripe(platform: ChaosPlatform) -> Stripe:
    """Reads every intent, refund and dispute from Stripe's API."""
    intents: dict[str, list[dict[str, Any]]] = {}
    paid: dict[str, int] = {}
    payment_of: dict[str, str] = {}
    for intent in _list_all(platform, "payment_intents"):
        payment_id = str(intent["metadata"]["payment_id"])
        payment_of[str(intent["id"])] = payment_id
        intents.setdefault(payment_id, []).append(intent)
        if intent["status"] == "succeeded":
            paid[payment_id] = paid.get(payment_id, 0) + intent["amount_received"] * _MICROS
    open_refunds = [one for one in _list_all(platform, "refunds") if one["status"] in ("pending", "succeeded")]
    open_disputes = [one for one in _list_all(platform, "disputes") if one["status"] != "won"]
    return Stripe(intents, paid, _sums(open_refunds, payment_of), _sums(open_disputes, payment_of))


def _sums(objects: list[dict[str, Any]], payment_of: Mapping[str, str]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in objects:
        payment_id = payment_of[one["payment_intent"]]
        sums[payment_id] = sums.get(payment_id, 0) + one["amount"] * _MICROS
    return sums


def _list_all(platform: ChaosPlatform, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = {"starting_after": found[-1]["id"]} if found else {}
        page = platform.stripe.get(f"/v1/{kind}", params={"limit": 100, **after}).raise_for_status().json()
        found += page["data"]
        if not page["has_more"]:
            return found


def verify(platform: ChaosPlatform, observations: Observations) -> tuple[dict[str, int], list[str]]:
    """Figures to print, and every inconsistency found."""
    at_stripe = read_stripe(platform)
    wrong = list(observations.faults)
    with psycopg.connect(platform.state.database_url(SERVICE), autocommit=True) as sql:
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
    for payment_id in payments.keys() | at_stripe.intents.keys() | credited.keys():
        wrong += [f"payment {payment_id}: {what}" for what in _check_payment(payment_id, payments, at_stripe, credited)]
    for payment_id, (key, amount_micros) in observations.payments.items():
        if payments.get(payment_id, ("", 0))[:2] != (key, amount_micros):
            wrong.append(f"payment {payment_id} was answered and is not stored")
    keys = [row[0] for row in payments.values()]
    wrong += [f"{len(keys) - len(set(keys))} payments were created twice"] if len(keys) != len(set(keys)) else []
    wrong += [f"refund {one} was answered and is not stored" for one in observations.refunds - refunds]
    wrong += _check_ledger(platform)
    figures = {
        "payments": len(payments),
        "credited": len(credited),
        "refunds": len(refunds),
        "disputes": observations.disputes,
        "calls": observations.calls,
        "repeats": observations.repeats,
    }
    return figures, wrong


def _check_payment(
    payment_id: str, payments: Mapping[str, Any], at_stripe: Stripe, credited: Mapping[str, list[int]]
) -> list[str]:
    if payment_id not in payments:
        return ["is at Stripe or in the ledger, and not stored"]
    _, amount_micros, state, *figures, external_id = payments[payment_id]
    intents, paid = at_stripe.intents.get(payment_id, []), at_stripe.paid.get(payment_id, 0)
    wrong = []
    if [intent["id"] for intent in intents] != ([external_id] if external_id else []):
        wrong.append(f"is {external_id} here, and at Stripe {[intent['id'] for intent in intents]}")
    if credited.get(payment_id, []) != ([paid] if paid else []):
        wrong.append(f"Stripe received {paid}; credited: {credited.get(payment_id, [])}")
    if paid not in (0, amount_micros):
        wrong.append(f"{amount_micros} was requested, {paid} was paid")
    theirs = [paid, at_stripe.refunded.get(payment_id, 0), at_stripe.disputed.get(payment_id, 0)]
    if figures != theirs:
        wrong.append(f"paid, refunded and disputed are {figures}, and at Stripe {theirs}")
    if (state in ("SUCCEEDED", "REFUNDED", "DISPUTED")) != bool(paid):
        wrong.append(f"is {state}, and Stripe has {paid}")
    return wrong


def _check_ledger(platform: ChaosPlatform) -> list[str]:
    ledger = payment_pb2_grpc.LedgerServiceStub(platform.channel)
    answer = ledger.VerifyLedger(pb.VerifyLedgerRequest(), metadata=platform.service_headers("operator"), timeout=30)
    return [
        f"ledger: {one}"
        for one in answer.currencies
        if one.sum_micros or one.difference_micros or one.overdrawn or one.payments_differing
    ]
