"""`adctl sandbox chain`: a customer's wallet on the sandbox's EVM chain, its blocks and reorganizations."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import typer

from adctl.commands.context import console, current_state
from adctl.sandboxes.client import SandboxError, call
from adctl.sandboxes.database import find_row
from adsandbox.chain.coins import COINS, TOKENS

_MAX_BLOCKS = 2_000

app = typer.Typer(help="A customer's wallet on the local EVM chain, its blocks and reorgs.", no_args_is_help=True)


@app.command()
def pay(
    to: Annotated[str, typer.Argument(help="The id that POST /payments/create returned, or an address (0x…).")],
    amount: Annotated[str, typer.Argument(help="Coins, such as 12.5; by default the payment's amount.")] = "",
    coin: Annotated[str, typer.Option(help=f"One of {', '.join(COINS)}; by default the payment's.")] = "",
) -> None:
    """Send coins as the customer; the next block includes them."""
    body = _transfer(to, amount, coin)
    sent = _post("/sandbox/chain/pay", body)
    coins = Decimal(sent["smallest"]).scaleb(-COINS[sent["coin"]].decimals).normalize()
    console.print(f"{coins:f} {sent['coin']} sent to {body['to']} with", highlight=False)
    print(sent["transaction_hash"])


@app.command()
def mine(blocks: Annotated[int, typer.Argument(min=1, max=_MAX_BLOCKS, help="How many.")] = 1) -> None:
    """Mine blocks now. Without it, blocks are mined while a transaction waits or needs confirmations."""
    console.print(f"block {_post('/sandbox/chain/mine', {'blocks': blocks})['head']}", highlight=False)


@app.command()
def reorg(
    depth: Annotated[int, typer.Argument(min=1, help="How many of the newest blocks to replace.")],
    drop: Annotated[bool, typer.Option("--drop", help="Drop the transactions of the replaced blocks.")] = False,
) -> None:
    """Reorganize the chain: the transactions of the replaced blocks move to new ones."""
    done = _post("/sandbox/chain/reorg", {"depth": depth, "keep_transactions": not drop})
    console.print(f"{len(done['orphaned'])} blocks replaced; block {done['head']}", highlight=False)


def _post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return call(current_state(), "chain", "POST", path, body)


def _transfer(to: str, amount: str, coin: str) -> dict[str, Any]:
    if to.startswith("0x"):
        if not amount:
            raise typer.BadParameter("an address does not imply an amount; give one")
        return {"to": to, "coin": coin or TOKENS[0].symbol, "amount": amount}
    try:
        payment_id = UUID(to)
    except ValueError:
        raise typer.BadParameter(f"{to} is neither a payment's id nor an address") from None
    instructions = _payment_instructions(payment_id)
    if coin and coin != instructions["token"] and not amount:
        raise typer.BadParameter(f"the payment is in {instructions['token']}; give the amount of {coin}")
    size = {"amount": amount} if amount else {"smallest": instructions["amount"]}
    return {"to": instructions["address"], "coin": coin or instructions["token"], **size}


def _payment_instructions(payment_id: UUID) -> dict[str, Any]:
    found = find_row(
        current_state().database_url("payment-service"),
        "SELECT instructions FROM payments WHERE id = %s AND provider = 'CRYPTO'",
        payment_id,
    )
    if not found or not found[0]:
        raise SandboxError(f"there is no payment {payment_id} by chain")
    return dict(found[0])
