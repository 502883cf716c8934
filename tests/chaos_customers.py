"""Customers, staff and banks that keep making payments, refunds and disputes while servers are killed."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

import grpc
import httpx
from adplatform.payment.v1 import payment_pb2 as pb
from adplatform.payment.v1 import payment_pb2_grpc, refunds_pb2, refunds_pb2_grpc

from .chaos_platform import ChaosPlatform

T = TypeVar("T")

CALL_S = 12.0
_MAX_TRIES = 400
# Errors that are expected while servers are killed. Any other is a fault.
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}


@dataclass
class Observations:
    """The answers of the service, which must all be stored and applied once."""

    payments: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The idempotency key and the amount in micros of each payment, by its id."""
    refunds: set[str] = field(default_factory=set)
    disputes: int = 0
    calls: int = 0
    repeats: int = 0
    faults: list[str] = field(default_factory=list)


class Customer:
    """A member of one organization who makes payments one after the other."""

    def __init__(self, platform: ChaosPlatform, observations: Observations, seed: int, stop: threading.Event) -> None:
        self._world = platform
        self._observations = observations
        self._chance = random.Random(seed)
        self._stop = stop
        self._pause = threading.Event()
        self.organization_id, self._headers = platform.organization()
        self._payments = payment_pb2_grpc.PaymentServiceStub(platform.channel)
        self._refunds = refunds_pb2_grpc.RefundServiceStub(platform.channel)
        self._paid: list[str] = []

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self._make_payment()
        except Exception as error:  # noqa: BLE001 - of a thread: `verify` reports it
            self._observations.faults.append(f"{type(error).__name__}: {error}")

    def _make_payment(self) -> None:
        key, cents = str(uuid4()), self._chance.randint(100, 50_000)
        payment_id = self._create(key, cents * 10_000)
        if payment_id is None:
            return
        if self._chance.random() < 0.2 and self._create(key, cents * 10_000) not in (payment_id, None):
            self._observations.faults.append(f"the repeat of {key} made another payment")
        if self._chance.random() < 0.2:
            self._act_at_stripe("/sandbox/pay", payment_id=payment_id, outcome="decline")
        if self._chance.random() < 0.8 and self._act_at_stripe(
            "/sandbox/pay", payment_id=payment_id, outcome="succeed"
        ):
            self._paid.append(payment_id)
        if self._chance.random() < 0.3:
            request = pb.ConfirmPaymentRequest(payment_id=payment_id)
            self._retry(lambda: self._payments.ConfirmPayment(request, metadata=self._headers(), timeout=CALL_S))
        if len(self._paid) > 1 and self._chance.random() < 0.6:
            self._refund(self._chance.choice(self._paid[:-1]))
        if len(self._paid) > 1 and self._chance.random() < 0.15:
            self._dispute(self._chance.choice(self._paid[:-1]))

    def _create(self, key: str, amount_micros: int) -> str | None:
        request = pb.CreatePaymentRequest(amount_micros=amount_micros, currency_code="USD", provider=pb.STRIPE)
        answer = self._retry(
            lambda: self._payments.CreatePayment(
                request, metadata=[*self._headers(), ("idempotency-key", key)], timeout=CALL_S
            )
        )
        if answer is None:
            return None
        self._observations.payments[answer.payment.id] = (key, amount_micros)
        return str(answer.payment.id)

    def _refund(self, payment_id: str) -> None:
        """Refunds a part or all. A refund of money that is not in the wallet is refused."""
        cents = self._chance.choice([None, 1, self._chance.randint(1, 5_000)])
        request = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, reason="asked for")
        if cents is not None:
            request.amount_micros = cents * 10_000
        metadata = [("idempotency-key", str(uuid4()))]
        refund = self._retry(
            lambda: self._refunds.RefundPayment(request, metadata=[*self._headers(), *metadata], timeout=CALL_S),
            refusal=grpc.StatusCode.FAILED_PRECONDITION,
        )
        if refund is not None:
            self._observations.refunds.add(refund.id)

    def _dispute(self, payment_id: str) -> None:
        if self._act_at_stripe("/sandbox/dispute", payment_id=payment_id, outcome="open"):
            self._observations.disputes += 1
            if self._chance.random() < 0.8:
                self._act_at_stripe(
                    "/sandbox/dispute", payment_id=payment_id, outcome=self._chance.choice(["win", "lose"])
                )

    def _retry(self, call: Callable[[], T], refusal: grpc.StatusCode | None = None) -> T | None:
        """Repeats a call until it is answered; None if it is refused with this code, or at the end of the run."""
        for _ in range(_MAX_TRIES):
            self._observations.calls += 1
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() is refusal:
                    return None
                if error.code() not in _TRANSIENT:
                    raise
            self._observations.repeats += 1
            self._pause.wait(self._chance.uniform(0.02, 0.3))
            if self._stop.is_set() and self._chance.random() < 0.05:
                return None  # some clients do not retry
        raise AssertionError("a call was never answered")

    def _act_at_stripe(self, path: str, **body: str) -> bool:
        """Calls the sandbox's control API; False on a refusal or a lost answer (the action may have succeeded)."""
        for _ in range(40):
            try:
                answer = self._world.stripe.post(path, json=body)
            except httpx.HTTPError:
                self._pause.wait(self._chance.uniform(0.05, 0.2))
                continue
            if answer.status_code != 404:
                return answer.is_success
            if self._stop.wait(0.1):  # the payment is not created there yet
                break
        return False


def start_customers(
    platform: ChaosPlatform, observations: Observations, count: int, seed: int, stop: threading.Event
) -> list[threading.Thread]:
    """Starts a thread for each customer."""
    threads = [
        threading.Thread(
            target=Customer(platform, observations, seed * 1000 + number, stop).run, name=f"customer {number}"
        )
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads
