"""The interface of the event bus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a group receives; `id` is assigned by the bus and used to acknowledge it."""

    id: str
    payload: bytes


class Subscription(Protocol):
    """One consumer's part in a consumer group of a topic."""

    def receive(self, limit: int, wait_ms: int) -> Sequence[Delivery]:
        """Receives up to `limit` messages, waiting up to `wait_ms` for the first; raises Unavailable.

        Messages that another consumer received and never acknowledged come first, then new ones. A message that
        exceeds its delivery attempts goes to the topic's dead letters instead.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Marks messages as handled by the group; raises Unavailable."""
        ...


class Bus(Protocol):
    """Carries messages between services; at least once, to every group of a topic."""

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Stores messages, which are durable when this returns; raises Unavailable."""
        ...

    def subscribe(self, topic: str, group: str, consumer: str) -> Subscription:
        """Joins a group as `consumer`; a new group starts at the oldest message that the topic still has."""
        ...
