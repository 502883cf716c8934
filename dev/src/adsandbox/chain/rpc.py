"""The part of Ethereum's JSON-RPC that wallets and watchers use."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth.exceptions import PyEVMError
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adsandbox.chain.coins import CHAIN_ID
from adsandbox.chain.evm import MAX_FEE, Evm, NotPossible
from adsandbox.chain.wire import Json
from adsandbox.database import Database

MAX_LOGS = 10_000
MAX_IN_A_BATCH = 1_000

_METHOD_NOT_FOUND = -32601
_INVALID_PARAMETERS = -32602
_LIMIT_EXCEEDED = -32005


@dataclass(frozen=True)
class View:
    """The restrictions of a node: its lag and the requests that it refuses."""

    behind_blocks: int = 0
    log_range_limit: int = 0
    batch_limit: int = 0
    hide_logs: bool = False


class RpcError(Exception):
    """An error with its JSON-RPC code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def failure(id: Any, code: int, message: str) -> Json:
    """Return an error in JSON-RPC's format."""
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


class Rpc:
    """Answers single and batch requests."""

    def __init__(self, evm: Evm, database: Database, view: Callable[[], View]) -> None:
        self._evm = evm
        self._database = database
        self._view = view
        self._methods: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: "adsandbox/py-evm",
            "net_version": lambda: str(CHAIN_ID),
            "eth_chainId": lambda: hex(CHAIN_ID),
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_gasPrice": lambda: hex(MAX_FEE),
            "eth_maxPriorityFeePerGas": lambda: hex(10**9),
            "eth_blockNumber": lambda: hex(self._head()),
            "eth_getBlockByNumber": lambda number, full=False: self._block("number", self._number(number), full),
            "eth_getBlockByHash": lambda hash, full=False: self._block("hash", hash, full),
            "eth_getTransactionByHash": lambda hash: self._of_transaction(hash, "body"),
            "eth_getTransactionReceipt": lambda hash: self._of_transaction(hash, "receipt"),
            "eth_getLogs": self._logs,
            "eth_getBalance": lambda address, _="latest": hex(evm.balance(address)),
            "eth_getTransactionCount": lambda address, _="latest": hex(evm.nonce(address)),
            "eth_call": lambda call, _="latest": "0x" + evm.call(call["to"], _bytes(_input(call))).hex(),
            "eth_sendRawTransaction": lambda raw: evm.send(evm.decode(_bytes(raw))),
        }

    async def answer(self, request: Request) -> Response:
        """Answer a request or a batch."""
        try:
            body = json.loads(await request.body())
        except ValueError:
            return JSONResponse(failure(None, -32700, "parse error"), 400)
        if isinstance(body, list):
            if 0 < self._view().batch_limit < len(body):
                return JSONResponse(failure(None, _LIMIT_EXCEEDED, "the batch has too many calls"))
            return JSONResponse([self._one(call) for call in body[:MAX_IN_A_BATCH]])
        return JSONResponse(self._one(body))

    def _one(self, call: Any) -> Json:
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return failure(None, -32600, "invalid request")
        id, method, parameters = call.get("id"), call["method"], call.get("params") or []
        if method not in self._methods:
            return failure(id, _METHOD_NOT_FOUND, f"the method {method} does not exist")
        try:
            return {"jsonrpc": "2.0", "id": id, "result": self._methods[method](*parameters)}
        except RpcError as error:
            return failure(id, error.code, str(error))
        except NotPossible as error:
            return failure(id, 3, str(error))
        except (TypeError, ValueError, KeyError, ValidationError, RLPException, PyEVMError) as error:
            return failure(id, _INVALID_PARAMETERS, f"invalid parameters: {error}")

    def _head(self) -> int:
        return max(self._evm.head - self._view().behind_blocks, 0)

    def _number(self, tag: str) -> int:
        if tag == "earliest":
            return 0
        return self._head() if tag in ("latest", "safe", "finalized", "pending") else int(tag, 16)

    def _block(self, by: str, key: int | str, full: bool) -> Json | None:
        row = self._database.row(f"SELECT number, body FROM blocks WHERE {by} = ?", (key,))  # noqa: S608 - a column
        if row is None or row["number"] > self._head():
            return None
        body: Json = json.loads(row["body"])
        if full and body["transactions"]:
            found = self._database.rows(
                "SELECT body FROM transactions WHERE number = ? ORDER BY position", (row["number"],)
            )
            body["transactions"] = [json.loads(one["body"]) for one in found]
        return body

    def _of_transaction(self, hash: str, what: str) -> Json | None:
        row = self._database.row("SELECT * FROM transactions WHERE hash = ?", (hash.lower(),))
        if row is None or row["number"] > self._head():
            return None
        found: Json = json.loads(row[what])
        return found

    def _logs(self, wanted: Json) -> list[Json]:
        view, head = self._view(), self._head()
        if hash := wanted.get("blockHash"):
            block = self._block("hash", hash, full=False)
            if block is None:
                raise RpcError(-32000, "unknown block")
            first = last = int(block["number"], 16)
        else:
            first = self._number(wanted.get("fromBlock", "latest"))
            last = self._number(wanted.get("toBlock", "latest"))
        if view.log_range_limit and last - first >= view.log_range_limit:
            raise RpcError(_LIMIT_EXCEEDED, f"eth_getLogs is limited to a {view.log_range_limit} block range")
        if view.hide_logs:
            return []
        address = wanted.get("address")
        addresses = [address] if isinstance(address, str) else address
        rows = self._database.rows(
            "SELECT body FROM logs WHERE number BETWEEN ? AND ?"
            " AND (? IS NULL OR address IN (SELECT value FROM json_each(?))) ORDER BY number, position LIMIT ?",
            (
                first,
                min(last, head),
                *[json.dumps([one.lower() for one in addresses]) if addresses else None] * 2,
                MAX_LOGS + 1,
            ),
        )
        found = [
            one for row in rows if _matches((one := json.loads(row["body"]))["topics"], wanted.get("topics") or [])
        ]
        if len(found) > MAX_LOGS:
            raise RpcError(_LIMIT_EXCEEDED, f"query returned more than {MAX_LOGS} results")
        return found


def _matches(topics: list[str], wanted: list[Any]) -> bool:
    if len(wanted) > len(topics):
        return False
    for topic, allowed in zip(topics, wanted, strict=False):
        some = [allowed] if isinstance(allowed, str) else allowed
        if some and topic not in [one.lower() for one in some]:
            return False
    return True


def _input(call: Json) -> str:
    return str(call.get("input") or call.get("data") or "0x")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
