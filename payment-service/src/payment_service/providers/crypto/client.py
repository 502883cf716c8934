"""A chain's node, over JSON-RPC.

Six calls with a deadline are needed, for many blocks per request; importing web3 for them takes 0.9 s and 40 MB in
every worker process.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import httpx

from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.http_responses import fetch
from payment_service.payments.model import Payment
from payment_service.providers.crypto import messages
from payment_service.providers.crypto.messages import Block, Log, Receipt, Transaction, parsing
from payment_service.providers.crypto.model import Chain, ChainNotAvailable, Coin

_MAX_BATCH = 25
_TIMEOUT_S = 3.0
# Method and parameters.
_Call = tuple[str, Sequence[Any]]

_log = logger(__name__)


class Refused(Unavailable):
    """The node returned an error; it may accept a smaller request."""


class Inconsistent(Unavailable):
    """The node's responses contradict each other, as when its chain changed in between; a retry succeeds."""


class Node:
    """A chain's node. Every method returns or raises UNAVAILABLE before the deadline, if there is one."""

    def __init__(
        self, url: str, chain_id: int, client: httpx.Client | None = None, deadline: float | None = None
    ) -> None:
        self._url = url
        self._chain_id = chain_id
        self._client = client or httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._deadline = deadline
        # Decreases when the node refuses a batch.
        self._batch_size = _MAX_BATCH

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def within(self, seconds: float) -> Self:
        """The same node with a deadline: this many seconds for all its calls in total."""
        return type(self)(self._url, self._chain_id, self._client, time.monotonic() + seconds)

    @property
    def has_time(self) -> bool:
        """Whether the deadline has not passed."""
        return self._deadline is None or time.monotonic() < self._deadline

    def head_and_block(self, number: int) -> tuple[int, Block | None]:
        """The last block's number, and the block with the given number, in one request."""
        calls = [("eth_chainId", []), ("eth_blockNumber", []), ("eth_getBlockByNumber", [hex(number), False])]
        chain_id, head, block = self._call(calls)
        with parsing():
            if messages.integer(chain_id) != self._chain_id:
                _log.error("node_of_another_chain", wanted=self._chain_id, found=messages.integer(chain_id))
                raise Unavailable(f"the node is one of another chain than {self._chain_id}")
            return messages.integer(head), messages.block(block) if block else None

    def blocks(
        self, numbers: Iterable[int], *, with_transactions: bool = False, max_batch: int = _MAX_BATCH
    ) -> list[Block]:
        """The blocks with those numbers; UNAVAILABLE if the node does not have one of them."""
        wanted = list(numbers)
        found: list[Block] = []
        step = min(max_batch, _MAX_BATCH)
        for first in range(0, len(wanted), step):
            calls = [("eth_getBlockByNumber", [hex(one), with_transactions]) for one in wanted[first : first + step]]
            results = self._call(calls)
            if None in results:
                raise Inconsistent("the chain's node has lost a block that it had; try again")
            with parsing():
                found += [messages.block(one) for one in results]
        return found

    def logs(self, contracts: Sequence[str], first: int, last: int, receiver: str = "") -> list[Log]:
        """The tokens' transfers in those blocks, to all receivers or one; `Refused`."""
        filter_ = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": list(contracts),
            "topics": messages.transfer_topics(receiver),
        }
        (result,) = self._call([("eth_getLogs", [filter_])])
        with parsing():
            return messages.transfers(result)

    def receipts(self, hashes: Sequence[str]) -> list[Receipt | None]:
        """The transactions' receipts; None for a transaction that is in no block."""
        results = self._call([("eth_getTransactionReceipt", [hash]) for hash in hashes])
        with parsing():
            return [messages.receipt(one) for one in results]

    def transaction(self, hash: str) -> Transaction | None:
        """The transaction, also one that is in no block yet; None if the node does not know it."""
        (result,) = self._call([("eth_getTransactionByHash", [hash])])
        with parsing():
            return messages.transaction(result) if result else None

    def _call(self, calls: Sequence[_Call]) -> list[Any]:
        """The results of the calls, in as few requests as the node accepts."""
        results: list[Any] = []
        while len(results) < len(calls):
            batch = calls[len(results) : len(results) + self._batch_size]
            try:
                results += self._call_batch(batch)
            except Refused:
                if len(batch) == 1:
                    raise
                self._batch_size = len(batch) // 2
        return results

    def _call_batch(self, calls: Sequence[_Call]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": parameters}
            for index, (method, parameters) in enumerate(calls)
        ]
        status, found = self._post(body if len(body) > 1 else body[0])
        responses = found if isinstance(found, list) else [found]
        by_id = {one.get("id"): one for one in responses if isinstance(one, Mapping)}
        if failed := next((one["error"] for one in responses if isinstance(one, Mapping) and one.get("error")), None):
            _log.info("node_refused", method=calls[0][0], error=str(failed)[:300])
            if httpx.codes.is_server_error(status) or status == httpx.codes.TOO_MANY_REQUESTS:
                raise Unavailable("the chain's node does not work; try again")
            raise Refused("the chain's node refused the request; try again")
        if any(index not in by_id or "result" not in by_id[index] for index in range(len(body))):
            raise Unavailable(f"the chain's node returned status {status} and no results; try again")
        return [by_id[index]["result"] for index in range(len(body))]

    def _post(self, body: Any) -> tuple[int, Any]:
        """The status and the JSON."""
        timeout = _TIMEOUT_S if self._deadline is None else min(_TIMEOUT_S, self._deadline - time.monotonic())
        try:
            if timeout <= 0:
                raise httpx.PoolTimeout("the deadline has passed")
            status, response = fetch(self._client, "POST", self._url, timeout, json=body, timeout=timeout)
            return status, json.loads(response)
        except (httpx.HTTPError, ValueError) as error:
            # The URL may contain a key, and so may the error's text.
            raise Unavailable(f"the chain's node does not answer ({type(error).__name__}); try again") from None


class Network:
    """The configured chains and their nodes; the first chain is the default."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        self._chains = {chain.chain_id: chain for chain in chains}
        self._nodes = {chain.chain_id: Node(chain.rpc_url, chain.chain_id) for chain in chains}

    @property
    def chains(self) -> Sequence[Chain]:
        """All chains."""
        return list(self._chains.values())

    def has(self, chain_id: int) -> bool:
        """Whether the chain is configured."""
        return chain_id in self._chains

    def chain(self, chain_id: int) -> Chain:
        """The chain, or the default one for 0; CHAIN_NOT_AVAILABLE."""
        if chain_id and chain_id not in self._chains:
            known = ", ".join(f"{chain.chain_id} ({chain.name})" for chain in self._chains.values())
            raise ChainNotAvailable(chain_id, known)
        return self._chains[chain_id] if chain_id else next(iter(self._chains.values()))

    def chosen(self, payment: Payment) -> tuple[Chain, Coin]:
        """The chain and the coin that a payment was opened with; CHAIN_NOT_AVAILABLE, TOKEN_NOT_AVAILABLE."""
        chain = self.chain(int(payment.choice["chain_id"]))
        return chain, chain.coin(payment.choice["token"])

    def node(self, chain_id: int) -> Node:
        """The chain's node."""
        return self._nodes[chain_id]

    def close(self) -> None:
        """Closes the connections to all nodes."""
        for node in self._nodes.values():
            node.close()
