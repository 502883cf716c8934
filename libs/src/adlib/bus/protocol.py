"""What a bus does, whichever it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a group receives it; `id` is the bus's own, for acknowledging."""

    id: str
    payload: bytes


class Subscription(Protocol):
    """One group's place in a topic, as one of its readers sees it."""

    def receive(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        """Up to `limit` messages: first those another reader took and never acknowledged, then new ones.

        One that was received too often without an acknowledgement goes to the topic's dead letters instead.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These are done with."""
        ...


class Bus(Protocol):
    """Carries messages from services to services."""

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Stores the messages; they are durable when this returns. UNAVAILABLE."""
        ...

    def subscribe(self, topic: str, group: str, reader: str) -> Subscription:
        """A reader's place in a group; a new group begins with the oldest message that is kept."""
        ...
