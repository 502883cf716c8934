"""The chain as web3 sees it: payments, blocks, reorganizations, restarts and misbehaviour."""

import os
import signal
from dataclasses import replace
from itertools import pairwise
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError

from adctl.commands.sandbox import app
from adctl.platform.chain import make_xpub
from adctl.ports import free_port
from adctl.state import prepare
from adsandbox.chain.coins import CHAIN_ID, COINS
from adtesting import eventually

TRANSFER = "0x" + Web3.keccak(text="Transfer(address,address,uint256)").hex()
BOB = "0x52908400098527886E0F7030069857D2E4169EE7"
USDC = COINS["USDC"].contract


class Chain:
    """Its node, by web3, and its control endpoints."""

    def __init__(self, process) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{process.ports['chain-sandbox']}"
        self.eth = Web3(Web3.HTTPProvider(self.url, request_kwargs={"timeout": 10})).eth

    def ask(self, name, **body):
        answer = httpx.post(f"{self.url}/sandbox/chain/{name}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pay(self, amount, coin="USDC", to=BOB):
        return self.ask("pay", to=to, coin=coin, amount=str(amount))["transaction_hash"]

    def logs(self, first=0, last="latest"):
        return self.eth.get_logs({"fromBlock": first, "toBlock": last, "address": USDC, "topics": [TRANSFER]})


def _start(start, folder, block_s="0") -> Chain:
    return Chain(start(folder, CHAIN_SANDBOX_PORT="0", CHAIN_SANDBOX_BLOCK_S=block_s))


@pytest.fixture(scope="module")
def shared_chain(start, tmp_path_factory):
    return _start(start, tmp_path_factory.mktemp("chain"))


@pytest.fixture
def chain(shared_chain):
    yield shared_chain
    httpx.delete(f"{shared_chain.url}/sandbox/behaviour").raise_for_status()


def test_token_transfer_is_in_the_logs(chain):
    hash = chain.pay("12.5")
    with pytest.raises(TransactionNotFound):
        chain.eth.get_transaction_receipt(hash)
    chain.ask("mine", blocks=1)
    receipt = chain.eth.get_transaction_receipt(hash)
    (log,) = receipt.logs
    assert (receipt.status, log.address, log.topics[2].hex()[-40:]) == (1, USDC, BOB[2:].lower())
    assert int(log.data.hex(), 16) == 12_500_000
    found = chain.logs(receipt.blockNumber, receipt.blockNumber)
    assert [(one.transactionHash, one.blockHash) for one in found] == [(receipt.transactionHash, receipt.blockHash)]
    assert chain.eth.chain_id == CHAIN_ID


def test_native_coin_is_transferred(chain):
    before = chain.eth.get_balance(BOB)
    hash = chain.pay("0.25", "ETH")
    chain.ask("mine", blocks=1)
    assert chain.eth.get_balance(BOB) - before == Web3.to_wei("0.25", "ether")
    block = chain.eth.get_block(chain.eth.block_number, full_transactions=True)
    assert [(one.hash, one.to, one.value) for one in block.transactions] == [
        (chain.eth.get_transaction(hash).hash, BOB, Web3.to_wei("0.25", "ether"))
    ]


def test_blocks_are_linked_by_their_hashes(chain):
    chain.ask("mine", blocks=3)
    blocks = [chain.eth.get_block(number) for number in range(chain.eth.block_number + 1)]
    assert [one.parentHash for one in blocks[1:]] == [one.hash for one in blocks[:-1]]
    assert all(child.timestamp > parent.timestamp for parent, child in pairwise(blocks))


def test_reorg_moves_transactions_to_other_blocks(chain):
    hash = chain.pay(1)
    chain.ask("mine", blocks=2)
    before = chain.eth.get_transaction_receipt(hash)
    head = chain.eth.block_number
    gone = chain.ask("reorg", depth=2, keep_transactions=True)["orphaned"]
    after = chain.eth.get_transaction_receipt(hash)
    assert "0x" + before.blockHash.hex() == gone[0]
    assert (after.blockNumber, chain.eth.block_number) == (before.blockNumber + 1, head + 1)
    assert after.blockHash != before.blockHash
    with pytest.raises(BlockNotFound):
        chain.eth.get_block(before.blockHash)


def test_reorg_can_drop_transactions(chain):
    held = chain.eth.call({"to": USDC, "data": "0x70a08231" + "0" * 24 + BOB[2:].lower()})
    hash = chain.pay(7)
    chain.ask("mine", blocks=1)
    count = len(chain.logs())
    chain.ask("reorg", depth=1, keep_transactions=False)
    assert len(chain.logs()) == count - 1
    assert chain.eth.call({"to": USDC, "data": "0x70a08231" + "0" * 24 + BOB[2:].lower()}) == held
    with pytest.raises(TransactionNotFound):
        chain.eth.get_transaction(hash)
    again = chain.pay(7)
    chain.ask("mine", blocks=1)
    assert chain.eth.get_transaction_receipt(again).status == 1


def test_transfer_beyond_the_balance_fails_on_the_chain(chain):
    hash = chain.ask("pay", to=BOB, coin="USDC", smallest=str(2**255))["transaction_hash"]
    chain.ask("mine", blocks=1)
    assert chain.eth.get_transaction_receipt(hash).status == 0


def test_node_can_lag_refuse_ranges_and_hide_logs(chain):
    hash = chain.pay(1)
    chain.ask("mine", blocks=5)
    head, count = chain.eth.block_number, len(chain.logs())
    behaviour = f"{chain.url}/sandbox/behaviour"
    httpx.put(behaviour, json={"behind_blocks": 5}).raise_for_status()
    assert (chain.eth.block_number, len(chain.logs())) == (head - 5, count - 1)
    with pytest.raises(TransactionNotFound):
        chain.eth.get_transaction_receipt(hash)
    with pytest.raises(BlockNotFound):
        chain.eth.get_block(head)
    httpx.put(behaviour, json={"behind_blocks": 0, "log_range_limit": 3}).raise_for_status()
    assert len(chain.logs(head - 2, head)) == 0
    with pytest.raises(Web3RPCError, match="3 block range"):
        chain.logs(head - 3, head)
    httpx.put(behaviour, json={"log_range_limit": 0, "batch_limit": 2}).raise_for_status()
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
    assert len(httpx.post(chain.url, json=[call] * 2).json()) == 2
    assert "too many" in httpx.post(chain.url, json=[call] * 3).json()["error"]["message"]
    httpx.put(behaviour, json={"batch_limit": 0, "hide_logs": True}).raise_for_status()
    assert chain.logs() == []


def test_invalid_chain_requests_are_refused(chain):
    def refusal(name, **body):
        answer = httpx.post(f"{chain.url}/sandbox/chain/{name}", json=body)
        return answer.status_code, answer.json()["error"]["message"]

    assert refusal("pay", to="nobody", amount="1") == (400, "to must be an address")
    assert refusal("pay", to=BOB, amount="1", coin="DOGE")[1].startswith("coin must be one of ETH, USDC")
    assert "not a whole number" in refusal("pay", to=BOB, amount="0.0000001")[1]
    assert "not a whole number" in refusal("pay", to=BOB, amount="-1")[1]
    assert "must be a number" in refusal("pay", to=BOB, amount="many")[1]
    assert refusal("mine", blocks=0)[0] == 400
    assert refusal("reorg", depth=10_000)[0] == 409
    assert refusal("reorg", depth=0)[0] == 409


def test_chain_survives_a_kill_unchanged(start, tmp_path):
    first = _start(start, tmp_path)
    hash = first.pay(3)
    first.ask("mine", blocks=4)
    waiting = first.pay(4)
    blocks = [first.eth.get_block(number) for number in range(first.eth.block_number + 1)]
    os.kill(first.process.process.pid, signal.SIGKILL)
    first.process.process.wait()
    second = _start(start, tmp_path)
    assert [second.eth.get_block(number) for number in range(second.eth.block_number + 1)] == blocks
    second.ask("mine", blocks=1)
    for one in (hash, waiting):
        assert second.eth.get_transaction_receipt(one).status == 1
    assert second.eth.get_block(second.eth.block_number).parentHash == blocks[-1].hash


def test_blocks_are_mined_after_a_payment_and_then_pause(start, tmp_path):
    chain = _start(start, tmp_path, block_s="0.005")
    hash = chain.pay(1)
    eventually(lambda: chain.eth.get_transaction_receipt(hash))
    mined = chain.eth.get_transaction_receipt(hash).blockNumber
    eventually(lambda: chain.eth.block_number >= mined + 40)
    assert chain.eth.block_number == mined + 40


@pytest.fixture
def typed(chain, tmp_path, monkeypatch):
    """Runs `adctl sandbox chain …` as typed."""
    state = prepare(tmp_path, free_port())
    replace(state, ports={**state.ports, **chain.process.ports}).save()
    monkeypatch.setenv("ADPLATFORM_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, ["chain", *map(str, arguments)])


def test_chain_commands_pay_mine_and_reorganize(typed, chain):
    paid = typed("pay", BOB, "12.5", "--coin", "DAI")
    assert f"12.5 DAI sent to {BOB}" in paid.output
    hash = paid.output.split()[-1]
    assert f"block {chain.eth.block_number + 2}\n" in typed("mine", 2).output
    before = chain.eth.get_transaction_receipt(hash).blockHash
    assert "2 blocks replaced" in typed("reorg", 2).output
    assert chain.eth.get_transaction_receipt(hash).blockHash != before
    assert "3 blocks replaced" in typed("reorg", 3, "--drop").output
    with pytest.raises(TransactionNotFound):
        chain.eth.get_transaction_receipt(hash)


def test_invalid_chain_commands_are_explained(typed):
    assert "the block that the tokens are in stays" in str(typed("reorg", 100_000).exception)
    assert "give one" in typed("pay", BOB).output
    assert "neither a payment's id nor" in typed("pay", "somebody").output
    assert "is the platform up?" in str(typed("pay", uuid4()).exception)
    assert typed("mine", 0).exit_code == 2
    assert "behind_blocks=0" in CliRunner().invoke(app, ["behaviour", "chain"]).output


def test_wallet_seed_and_xpub_are_created_once(tmp_path):
    seed, xpub = tmp_path / "seed", tmp_path / "xpub"
    make_xpub(seed, xpub)
    first = xpub.read_text()
    xpub.unlink()
    make_xpub(seed, xpub)
    assert (xpub.read_text(), first[:4], len(seed.read_text())) == (first, "xpub", 64)
    assert xpub.stat().st_mode & 0o077 == 0
