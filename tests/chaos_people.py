"""What customers, staff and customers' banks do while everything is being killed; they do not give up."""

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

from .chaos_world import World

T = TypeVar("T")

CALL_S = 12.0
_MOST_TRIES = 400
# What an answer may be while servers die; whatever else is not foreseen is a fault.
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}


@dataclass
class Told:
    """What the service has answered: nothing of it may be forgotten or done twice."""

    payments: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The idempotency key and the amount in micros of each payment, by its id."""
    refunds: set[str] = field(default_factory=set)
    disputes: int = 0
    calls: int = 0
    repeats: int = 0
    faults: list[str] = field(default_factory=list)


class Shopper:
    """One organization, whose member makes payments one after the other."""

    def __init__(self, world: World, told: Told, seed: int, stop: threading.Event) -> None:
        self._world = world
        self._told = told
        self._chance = random.Random(seed)
        self._stop = stop
        self._pause = threading.Event()
        self.organization_id, self._headers = world.organization()
        self._payments = payment_pb2_grpc.PaymentServiceStub(world.channel)
        self._refunds = refunds_pb2_grpc.RefundServiceStub(world.channel)
        self._paid: list[str] = []

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self._shop()
        except Exception as error:  # noqa: BLE001 - of a thread: whoever judges gets it
            self._told.faults.append(f"{type(error).__name__}: {error}")

    def _shop(self) -> None:
        key, cents = str(uuid4()), self._chance.randint(100, 50_000)
        payment_id = self._create(key, cents * 10_000)
        if payment_id is None:
            return
        if self._chance.random() < 0.2 and self._create(key, cents * 10_000) not in (payment_id, None):
            self._told.faults.append(f"the repeat of {key} made another payment")
        if self._chance.random() < 0.2:
            self._outside("/sandbox/pay", payment_id=payment_id, outcome="decline")
        if self._chance.random() < 0.8 and self._outside("/sandbox/pay", payment_id=payment_id, outcome="succeed"):
            self._paid.append(payment_id)
        if self._chance.random() < 0.3:
            request = pb.ConfirmPaymentRequest(payment_id=payment_id)
            self._insist(lambda: self._payments.ConfirmPayment(request, metadata=self._headers(), timeout=CALL_S))
        if len(self._paid) > 1 and self._chance.random() < 0.6:
            self._refund(self._chance.choice(self._paid[:-1]))
        if len(self._paid) > 1 and self._chance.random() < 0.15:
            self._dispute(self._chance.choice(self._paid[:-1]))

    def _create(self, key: str, amount_micros: int) -> str | None:
        request = pb.CreatePaymentRequest(amount_micros=amount_micros, currency_code="USD", provider=pb.STRIPE)
        answer = self._insist(
            lambda: self._payments.CreatePayment(
                request, metadata=[*self._headers(), ("idempotency-key", key)], timeout=CALL_S
            )
        )
        if answer is None:
            return None
        self._told.payments[answer.payment.id] = (key, amount_micros)
        return str(answer.payment.id)

    def _refund(self, payment_id: str) -> None:
        """In part or whole; what is not in the wallet yet or any more is refused."""
        cents = self._chance.choice([None, 1, self._chance.randint(1, 5_000)])
        request = refunds_pb2.RefundPaymentRequest(payment_id=payment_id, reason="asked for")
        if cents is not None:
            request.amount_micros = cents * 10_000
        metadata = [("idempotency-key", str(uuid4()))]
        refund = self._insist(
            lambda: self._refunds.RefundPayment(request, metadata=[*self._headers(), *metadata], timeout=CALL_S),
            refusal=grpc.StatusCode.FAILED_PRECONDITION,
        )
        if refund is not None:
            self._told.refunds.add(refund.id)

    def _dispute(self, payment_id: str) -> None:
        if self._outside("/sandbox/dispute", payment_id=payment_id, outcome="open"):
            self._told.disputes += 1
            if self._chance.random() < 0.8:
                self._outside("/sandbox/dispute", payment_id=payment_id, outcome=self._chance.choice(["win", "lose"]))

    def _insist(self, call: Callable[[], T], refusal: grpc.StatusCode | None = None) -> T | None:
        """The answer, however often it has to be asked for; None where it is this refusal, or all is over."""
        for _ in range(_MOST_TRIES):
            self._told.calls += 1
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() is refusal:
                    return None
                if error.code() not in _PASSING:
                    raise
            self._told.repeats += 1
            self._pause.wait(self._chance.uniform(0.02, 0.3))
            if self._stop.is_set() and self._chance.random() < 0.05:
                return None  # some clients die too
        raise AssertionError("a call was never answered")

    def _outside(self, path: str, **body: str) -> bool:
        """Does something at Stripe's; whether it is done, which it may be also where it seems not to be."""
        for _ in range(40):
            try:
                answer = self._world.stripe.post(path, json=body)
            except httpx.HTTPError:
                self._pause.wait(self._chance.uniform(0.05, 0.2))
                continue
            if answer.status_code != 404:
                return answer.is_success
            if self._stop.wait(0.1):  # not opened there yet
                break
        return False


def shopping(world: World, told: Told, count: int, seed: int, stop: threading.Event) -> list[threading.Thread]:
    """So many shoppers at once, each on a thread."""
    threads = [
        threading.Thread(target=Shopper(world, told, seed * 1000 + number, stop).run, name=f"shopper {number}")
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads
