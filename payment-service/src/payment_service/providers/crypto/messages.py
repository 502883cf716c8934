"""JSON-RPC ↔ model. Addresses are in lower case, amounts in the coin's smallest unit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from adlib.errors import Unavailable
from adlib.telemetry import logger

# keccak256 of Transfer(address,address,uint256), the event of ERC-20; its topics are itself, sender and receiver.
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_TRANSFER_TOPICS = 3
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that sends the native coin."""

    hash: str
    receiver: str
    amount: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block; it has its transactions only if they were requested."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    transactions: Sequence[Transaction] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """A transfer of a token."""

    contract: str
    receiver: str
    amount: int
    block_number: int
    block_hash: str
    transaction_hash: str
    index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a transaction."""

    is_successful: bool
    block_number: int
    block_hash: str
    transfers: Sequence[Log]


@contextmanager
def parsing() -> Iterator[None]:
    """Raises UNAVAILABLE for a response that cannot be parsed."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        _log.warning("node_response_not_parsed", error=repr(error)[:300])
        raise Unavailable("the chain's node returned something that cannot be parsed; try again") from error


def integer(text: Any) -> int:
    """A hexadecimal quantity."""
    return int(text, 16)


def block(found: Mapping[str, Any]) -> Block:
    """A block, with those transactions that the response has in full and that send coins."""
    transactions = [one for one in found["transactions"] if isinstance(one, Mapping)]
    return Block(
        number=integer(found["number"]),
        hash=found["hash"],
        parent_hash=found["parentHash"],
        timestamp=integer(found["timestamp"]),
        transactions=[transaction(one) for one in transactions if one.get("to") and integer(one["value"])],
    )


def transaction(found: Mapping[str, Any]) -> Transaction:
    """A transaction."""
    return Transaction(found["hash"], (found.get("to") or "").lower(), integer(found["value"]))


def transfers(logs: Sequence[Mapping[str, Any]]) -> list[Log]:
    """The token transfers among the logs; logs of another shape, such as those of non-fungible tokens, are left out."""
    return [_transfer(one) for one in logs if _is_transfer(one)]


def receipt(found: Mapping[str, Any] | None) -> Receipt | None:
    """A receipt; None if the transaction is in no block."""
    if not found or not found.get("blockNumber"):
        return None
    return Receipt(
        is_successful=integer(found["status"]) == 1,
        block_number=integer(found["blockNumber"]),
        block_hash=found["blockHash"],
        transfers=transfers(found["logs"]),
    )


def transfer_topics(receiver: str = "") -> list[str | None]:
    """The topics that select token transfers, to one receiver or to all."""
    return [TRANSFER_TOPIC, None, "0x" + receiver[2:].rjust(64, "0")] if receiver else [TRANSFER_TOPIC]


def _is_transfer(found: Mapping[str, Any]) -> bool:
    topics = found["topics"]
    has_shape = len(topics) == _TRANSFER_TOPICS and len(found["data"]) == 2 + 64
    return has_shape and topics[0] == TRANSFER_TOPIC and not found.get("removed")


def _transfer(found: Mapping[str, Any]) -> Log:
    return Log(
        contract=found["address"].lower(),
        receiver="0x" + found["topics"][2][-40:].lower(),
        amount=integer(found["data"]),
        block_number=integer(found["blockNumber"]),
        block_hash=found["blockHash"],
        transaction_hash=found["transactionHash"],
        index=integer(found["logIndex"]),
    )
