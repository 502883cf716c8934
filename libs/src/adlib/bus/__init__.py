"""The event bus: topics of messages, each read by any number of groups, at least once."""

from adlib.bus.consumer import Consumer, Handler
from adlib.bus.protocol import Bus, Delivery, Subscription
from adlib.bus.redis_streams import RedisBus

__all__ = ["Bus", "Consumer", "Delivery", "Handler", "RedisBus", "Subscription"]
