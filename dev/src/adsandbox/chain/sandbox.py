"""An EVM chain behind JSON-RPC, a customer's wallet on it, and reorganizations."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from eth_utils.address import is_address
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour
from adsandbox.chain.coins import CHAIN_ID, COINS, Coin
from adsandbox.chain.evm import CUSTOMER_ADDRESS, SCHEMA, Evm, NotPossible
from adsandbox.chain.rpc import Rpc, View, failure
from adsandbox.control import ControlError, non_negative, read_object
from adsandbox.database import Database
from adsandbox.sandbox import Sandbox, application
from adsandbox.settings import Settings

MAX_BLOCKS = 20_000
# Blocks that are mined after a transaction. Then mining pauses until the next one, so an idle chain costs nothing.
FOLLOWING_BLOCKS = 40
# Mined before the event loop serves other requests.
_BLOCKS_AT_A_TIME = 50


@dataclass
class ChainBehaviour(Behaviour):
    """A node's misbehaviour, in addition to that of every outside system.

    `behind_blocks`: it does not know this many of the newest blocks. `log_range_limit`: the maximum number of blocks of
    an `eth_getLogs`; 0: no limit. `batch_limit`: the maximum number of calls in a batch; 0: no limit. `hide_logs`: it
    has the blocks, but not their logs.
    """

    behind_blocks: int = 0
    log_range_limit: int = 0
    batch_limit: int = 0
    hide_logs: bool = False


def build(settings: Settings) -> Sandbox:
    """Return the sandbox with its stored chain; with a block time of 0 it mines only on request."""
    block_s = settings.seconds("CHAIN_SANDBOX_BLOCK_S", "2")
    database = Database(settings.state_dir / "chain.db", SCHEMA)
    behaviour, evm = ChainBehaviour(), Evm(database)

    def view() -> View:
        return View(behaviour.behind_blocks, behaviour.log_range_limit, behaviour.batch_limit, behaviour.hide_logs)

    rpc = Rpc(evm, database, view)
    control = Control(evm)
    app = application(
        [Route("/", rpc.answer, methods=["POST"]), *control.routes()],
        behaviour,
        lambda status: JSONResponse(failure(None, -32603, "the sandbox was asked to fail"), status),
        {NotPossible: lambda _, error: JSONResponse({"error": {"message": str(error)}}, 409)},
    )
    miner = Miner(evm, block_s)
    return Sandbox("chain-sandbox", settings.port("chain"), app, database, [miner.run] if block_s else [])


class Miner:
    """Mines blocks while a transaction is pending or needs confirmations."""

    def __init__(self, evm: Evm, block_s: Decimal) -> None:
        self._evm = evm
        self._block_s = float(block_s)

    async def run(self) -> None:
        """Mine until cancelled."""
        while True:
            await asyncio.sleep(self._block_s)
            if self._evm.waiting or self._evm.head - self._evm.last_used < FOLLOWING_BLOCKS:
                self._evm.mine(1)


class Control:
    """The control endpoints: the customer's wallet, mining and reorganizations."""

    def __init__(self, evm: Evm) -> None:
        self._evm = evm

    def routes(self) -> list[Route]:
        """Return the control endpoints."""
        endpoints: dict[str, Callable[[Request], Coroutine[Any, Any, Response]]] = {
            "pay": self._pay,
            "mine": self._mine,
            "reorg": self._reorg,
        }
        made = [Route(f"/sandbox/chain/{name}", endpoint, methods=["POST"]) for name, endpoint in endpoints.items()]
        return [*made, Route("/sandbox/chain", self._show, methods=["GET"])]

    async def _show(self, _: Request) -> Response:
        coins = {
            coin.symbol: {"decimals": coin.decimals, "contract": coin.contract, "payer": CUSTOMER_ADDRESS}
            for coin in COINS.values()
        }
        return JSONResponse(
            {"chain_id": CHAIN_ID, "head": self._evm.head, "waiting": self._evm.waiting, "coins": coins}
        )

    async def _pay(self, request: Request) -> Response:
        """{to, coin, amount} in units such as "12.5", or {to, coin, smallest} in the coin's smallest unit."""
        body = await read_object(request)
        to, symbol = body.get("to"), body.get("coin", "USDC")
        if not isinstance(to, str) or not is_address(to):
            raise ControlError(400, "to must be an address")
        coin = COINS.get(symbol) if isinstance(symbol, str) else None
        if coin is None:
            raise ControlError(400, f"coin must be one of {', '.join(COINS)}")
        smallest = _smallest(body, coin)
        hash = self._evm.pay(to, smallest, coin)
        return JSONResponse({"transaction_hash": hash, "coin": coin.symbol, "smallest": str(smallest)})

    async def _mine(self, request: Request) -> Response:
        blocks = non_negative(await read_object(request), "blocks")
        if not 0 < blocks <= MAX_BLOCKS:
            raise ControlError(400, f"blocks must be from 1 to {MAX_BLOCKS}")
        for left in range(blocks, 0, -_BLOCKS_AT_A_TIME):
            self._evm.mine(min(left, _BLOCKS_AT_A_TIME))
            await asyncio.sleep(0)
        return JSONResponse({"head": self._evm.head})

    async def _reorg(self, request: Request) -> Response:
        body = await read_object(request)
        keep = body.get("keep_transactions", True)
        if not isinstance(keep, bool):
            raise ControlError(400, "keep_transactions must be true or false")
        orphaned = self._evm.reorganize(non_negative(body, "depth"), keep)
        return JSONResponse({"head": self._evm.head, "orphaned": orphaned})


def _smallest(body: dict[str, Any], coin: Coin) -> int:
    text = str(body.get("smallest", body.get("amount", "")))
    try:
        amount = Decimal(text) if "smallest" in body else Decimal(text).scaleb(coin.decimals)
    except InvalidOperation:
        raise ControlError(400, 'amount must be a number of coins, such as "12.5"') from None
    if not amount.is_finite() or amount < 0 or amount != int(amount) or amount >= 2**256:
        raise ControlError(400, f"{text} {coin.symbol} is not a whole number of its smallest unit, or too large")
    return int(amount)
