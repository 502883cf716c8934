"""A chain's node, over JSON-RPC.

What is needed is six calls with a deadline, many blocks at once: web3 takes 0.9 s and 40 MB to import for it, in every
worker process.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.providers.answers import whole

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
# keccak256 of Transfer(address,address,uint256), the event of ERC-20; its topics: itself, sender, receiver.
_TOPICS = 3
_BATCH = 25
_TIMEOUT_S = 3.0
# Method and parameters.
_Call = tuple[str, Sequence[Any]]

_log = logger(__name__)


class Refused(Unavailable):
    """The node answered with an error; asked for less it may not."""


class Inconsistent(Unavailable):
    """The node said two things that do not fit, as when its chain changed in between; asked again it will do."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the chain's own coin was sent with."""

    hash: str
    receiver: str
    amount: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block; its transactions only where they were asked for."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    transactions: Sequence[Transaction] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """A token's transfer. Addresses are in small letters."""

    contract: str
    receiver: str
    amount: int
    block_number: int
    block_hash: str
    transaction_hash: str
    index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction."""

    is_successful: bool
    block_number: int
    block_hash: str
    transfers: Sequence[Log]


class Node:
    """Answers or raises UNAVAILABLE, before its deadline."""

    def __init__(self, url: str, chain_id: int, client: httpx.Client | None = None, end: float | None = None) -> None:
        self._url = url
        self._chain_id = chain_id
        self._client = client or httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._end = end
        # Fewer once the node has refused so many.
        self._at_once = _BATCH

    def within(self, seconds: float) -> Self:
        """The same node, which has that long for all that it is asked."""
        return type(self)(self._url, self._chain_id, self._client, time.monotonic() + seconds)

    @property
    def has_time(self) -> bool:
        """Whether it may be asked once more."""
        return self._end is None or time.monotonic() < self._end

    def head_and(self, number: int) -> tuple[int, Block | None]:
        """The last block's number, and a block, at one go."""
        calls = [("eth_chainId", []), ("eth_blockNumber", []), ("eth_getBlockByNumber", [hex(number), False])]
        chain_id, head, block = self._ask(calls)
        with _understood():
            if _integer(chain_id) != self._chain_id:
                _log.error("node_of_another_chain", wanted=self._chain_id, found=_integer(chain_id))
                raise Unavailable(f"the node is one of another chain than {self._chain_id}")
            return _integer(head), _block(block) if block else None

    def blocks(self, numbers: Iterable[int], *, with_transactions: bool = False, at_once: int = _BATCH) -> list[Block]:
        """The blocks of those numbers; UNAVAILABLE where the node does not have one of them."""
        wanted = list(numbers)
        found: list[Block] = []
        step = min(at_once, _BATCH)
        for first in range(0, len(wanted), step):
            calls = [("eth_getBlockByNumber", [hex(one), with_transactions]) for one in wanted[first : first + step]]
            answers = self._ask(calls)
            if None in answers:
                raise Inconsistent("the chain's node has lost a block that it had; try again")
            with _understood():
                found += [_block(one) for one in answers]
        return found

    def logs(self, contracts: Sequence[str], first: int, last: int, receiver: str = "") -> list[Log]:
        """The tokens' transfers in those blocks, to all or one receiver; Refused: ask about less."""
        topics = [TRANSFER, None, "0x" + receiver[2:].rjust(64, "0")] if receiver else [TRANSFER]
        wanted = {"fromBlock": hex(first), "toBlock": hex(last), "address": list(contracts), "topics": topics}
        (answer,) = self._ask([("eth_getLogs", [wanted])])
        with _understood():
            return [log for one in answer if (log := _log_of(one))]

    def receipts(self, hashes: Sequence[str]) -> list[Receipt | None]:
        """What became of the transactions; None for one that is in no block."""
        answers = self._ask([("eth_getTransactionReceipt", [hash]) for hash in hashes])
        with _understood():
            return [_receipt(one) if one and one.get("blockNumber") else None for one in answers]

    def transaction(self, hash: str) -> Transaction | None:
        """The transaction."""
        (answer,) = self._ask([("eth_getTransactionByHash", [hash])])
        with _understood():
            return _transaction(answer) if answer else None

    def _ask(self, calls: Sequence[_Call]) -> list[Any]:
        """The answers, of many calls at once; in parts where the node refuses so many."""
        answers: list[Any] = []
        while len(answers) < len(calls):
            part = calls[len(answers) : len(answers) + self._at_once]
            try:
                answers += self._answers(part)
            except Refused:
                if len(part) == 1:
                    raise
                self._at_once = len(part) // 2
        return answers

    def _answers(self, calls: Sequence[_Call]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": parameters}
            for index, (method, parameters) in enumerate(calls)
        ]
        status, found = self._post(body if len(body) > 1 else body[0])
        answers = found if isinstance(found, list) else [found]
        by_id = {one.get("id"): one for one in answers if isinstance(one, Mapping)}
        if failed := next((one["error"] for one in answers if isinstance(one, Mapping) and one.get("error")), None):
            _log.info("node_refused", method=calls[0][0], error=str(failed)[:300])
            if httpx.codes.is_server_error(status) or status == httpx.codes.TOO_MANY_REQUESTS:
                raise Unavailable("the chain's node does not work; try again")
            raise Refused("the chain's node refused what it was asked; try again")
        if any(index not in by_id or "result" not in by_id[index] for index in range(len(body))):
            raise Unavailable(f"the chain's node answered {status} and nonsense; try again")
        return [by_id[index]["result"] for index in range(len(body))]

    def _post(self, body: Any) -> tuple[int, Any]:
        """The status, and the JSON."""
        timeout = _TIMEOUT_S if self._end is None else min(_TIMEOUT_S, self._end - time.monotonic())
        try:
            if timeout <= 0:
                raise httpx.PoolTimeout("no time left")
            status, answer = whole(self._client, "POST", self._url, timeout, json=body, timeout=timeout)
            return status, json.loads(answer)
        except (httpx.HTTPError, ValueError) as error:
            # The URL may have a key in it, and so may the error's text.
            raise Unavailable(f"the chain's node does not answer ({type(error).__name__}); try again") from None


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        _log.warning("node_not_understood", error=repr(error)[:300])
        raise Unavailable("the chain's node answered something that cannot be read; try again") from error


def _integer(text: Any) -> int:
    return int(text, 16)


def _block(told: Mapping[str, Any]) -> Block:
    full = [one for one in told["transactions"] if isinstance(one, Mapping)]
    return Block(
        number=_integer(told["number"]),
        hash=told["hash"],
        parent_hash=told["parentHash"],
        timestamp=_integer(told["timestamp"]),
        transactions=[_transaction(one) for one in full if one.get("to") and _integer(one["value"])],
    )


def _transaction(told: Mapping[str, Any]) -> Transaction:
    return Transaction(told["hash"], (told.get("to") or "").lower(), _integer(told["value"]))


def _log_of(told: Mapping[str, Any]) -> Log | None:
    """The transfer; None for one of another shape, as tokens that are no coins have it."""
    topics, data = told["topics"], told["data"]
    if len(topics) != _TOPICS or topics[0] != TRANSFER or len(data) != 2 + 64 or told.get("removed"):
        return None
    return Log(
        contract=told["address"].lower(),
        receiver="0x" + topics[2][-40:].lower(),
        amount=_integer(data),
        block_number=_integer(told["blockNumber"]),
        block_hash=told["blockHash"],
        transaction_hash=told["transactionHash"],
        index=_integer(told["logIndex"]),
    )


def _receipt(told: Mapping[str, Any]) -> Receipt:
    return Receipt(
        is_successful=_integer(told["status"]) == 1,
        block_number=_integer(told["blockNumber"]),
        block_hash=told["blockHash"],
        transfers=[log for one in told["logs"] if (log := _log_of(one))],
    )
