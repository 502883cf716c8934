"""A chain of one node with a real EVM (py-evm), real blocks and real signatures, stored in SQLite.

State, blocks and receipts change in one transaction of one file, so the chain survives kill -9. A chain that started
from genesis at every start would be a reorganization of all blocks. It needs wheels only; anvil would need Node.
"""

import json
import os
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from eth import constants
from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.db.backends.base import BaseDB
from eth.typing import AccountDetails
from eth.vm.forks.shanghai import ShanghaiVM
from eth.vm.forks.shanghai.blocks import ShanghaiBlockHeader
from eth.vm.spoof import SpoofTransaction
from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, BlockNumber
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp import decode as rlp_decode
from rlp import encode as rlp_encode

from adsandbox.chain import wire
from adsandbox.chain.coins import CHAIN_ID, TOKENS, Coin
from adsandbox.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS nodes (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
  number INTEGER PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  header BLOB NOT NULL,
  body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS transactions (
  hash TEXT PRIMARY KEY,
  number INTEGER NOT NULL,
  position INTEGER NOT NULL,
  raw BLOB NOT NULL,
  body TEXT NOT NULL,
  receipt TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS transactions_of_block ON transactions (number, position);
CREATE TABLE IF NOT EXISTS logs (
  number INTEGER NOT NULL,
  position INTEGER NOT NULL,
  address TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (number, position)
);
CREATE TABLE IF NOT EXISTS waiting (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  hash TEXT NOT NULL UNIQUE,
  raw BLOB NOT NULL
);
"""

GAS_LIMIT = 30_000_000
GAS = 200_000
MAX_FEE = 10**11
SUPPLY = 10**12
# The only account. Its key is public: the coins are worthless.
CUSTOMER = PrivateKey(keccak(text="the customer of the sandbox's chain"))
CUSTOMER_ADDRESS = CUSTOMER.public_key.to_checksum_address()
_CUSTOMER = CUSTOMER.public_key.to_canonical_address()
_FUNDS_WEI = 10**30
# So many fit into the gas of a block, so a pending transaction is included in the next block.
_MAX_TRANSACTIONS_IN_A_BLOCK = 100


class NotPossible(Exception):
    """The chain refuses a request; the message says why."""


class _Nodes(BaseDB):
    """The trie nodes, contracts and headers, by their hashes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getitem__(self, key: bytes) -> bytes:
        row = self._database.row("SELECT value FROM nodes WHERE key = ?", (key,))
        if row is None:
            raise KeyError(key)
        return bytes(row["value"])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._database.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        self._database.execute("DELETE FROM nodes WHERE key = ?", (key,))

    def _exists(self, key: bytes) -> bool:
        return self._database.row("SELECT 1 FROM nodes WHERE key = ?", (key,)) is not None


class _Rules(MiningChain):
    # Shanghai: from Cancun on even an empty block changes the state, so an idle chain would grow.
    vm_configuration = ((BlockNumber(0), ShanghaiVM),)
    chain_id = CHAIN_ID


class Evm:
    """The chain. Every method that changes it uses one database transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        nodes = AtomicDB(_Nodes(database))
        self._nodes = nodes
        row = database.row("SELECT header FROM blocks WHERE number = 0")
        if row is None:
            with database.transaction():
                self._begin(nodes)
        else:
            self._rules = _Rules(nodes, _header(row["header"]))

    @property
    def head(self) -> int:
        """The number of the newest block."""
        row = self._database.row("SELECT max(number) AS number FROM blocks")
        return int(row["number"]) if row else 0

    @property
    def waiting(self) -> int:
        """The number of pending transactions."""
        row = self._database.row("SELECT count(*) AS count FROM waiting")
        return int(row["count"]) if row else 0

    @property
    def last_used(self) -> int:
        """The number of the newest block with a transaction."""
        row = self._database.row("SELECT max(number) AS number FROM transactions")
        return int(row["number"] or 0) if row else 0

    def pay(self, to: str, amount: int, coin: Coin) -> str:
        """Send an amount of the coin's smallest unit as the customer; return the transaction's hash."""
        if coin.contract:
            data = keccak(text="transfer(address,uint256)")[:4] + encode(["address", "uint256"], [to, amount])
            return self.send(self._signed(coin.contract, 0, data))
        return self.send(self._signed(to, amount, b""))

    def send(self, transaction: SignedTransactionAPI) -> str:
        """Accept a signed transaction for the next block."""
        try:
            transaction.validate()
            transaction.check_signature_validity()
        except ValidationError as error:
            raise NotPossible(str(error)) from error
        with self._database.transaction():
            return self._send(transaction)

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """Return the decoded transaction."""
        return self._rules.get_vm().get_transaction_builder().decode(raw)

    def mine(self, blocks: int) -> list[str]:
        """Mine blocks, the first with all pending transactions; return their hashes."""
        with self._database.transaction():
            return self._mine(blocks)

    def reorganize(self, depth: int, keep_transactions: bool) -> list[str]:
        """Replace the newest blocks by others and one more; return the hashes of those replaced.

        Their transactions are in the second of the new blocks, or dropped.
        """
        if not 0 < depth < self.head:
            raise NotPossible(f"depth must be from 1 to {self.head - 1}: the block that the tokens are in stays")
        fork = self.head - depth
        with self._database.transaction():
            gone = self._database.rows("SELECT hash FROM blocks WHERE number > ? ORDER BY number", (fork,))
            held = self._database.rows(
                "SELECT raw FROM transactions WHERE number > ? ORDER BY number, position", (fork,)
            )
            held += self._database.rows("SELECT raw FROM waiting ORDER BY seq")
            for table in ("blocks", "transactions", "logs"):
                self._database.execute(f"DELETE FROM {table} WHERE number > ?", (fork,))  # noqa: S608 - names of ours
            self._database.execute("DELETE FROM waiting")
            self._mine(1)
            if keep_transactions:
                for row in held:
                    self._send(self.decode(row["raw"]))
            self._mine(depth)
        return [row["hash"] for row in gone]

    def call(self, to: str, data: bytes) -> bytes:
        """Return the result of a call on the state of the newest block."""
        vm = self._vm(self._last())
        unsigned = vm.get_transaction_builder().create_unsigned_transaction(
            nonce=self.nonce(CUSTOMER_ADDRESS),
            gas_price=MAX_FEE,
            gas=10**7,
            to=to_canonical_address(to),
            value=0,
            data=data,
        )
        # On a copy of the state that is discarded.
        computation = vm.state.apply_transaction(SpoofTransaction(unsigned, from_=_CUSTOMER))
        if computation.is_error:
            raise NotPossible(f"execution reverted: {computation.error}")
        return bytes(computation.output)

    def balance(self, address: str) -> int:
        """Return the balance of an address in wei, as of the newest block."""
        return int(self._vm(self._last()).state.get_balance(to_canonical_address(address)))

    def nonce(self, address: str) -> int:
        """Return the number of mined transactions of the address."""
        return int(self._vm(self._last()).state.get_nonce(to_canonical_address(address)))

    def _begin(self, nodes: AtomicDB) -> None:
        """Create the genesis block, and a first block that deploys the tokens."""
        genesis: dict[str, Any] = {
            "coinbase": constants.ZERO_ADDRESS,
            "difficulty": constants.POST_MERGE_DIFFICULTY,
            "gas_limit": GAS_LIMIT,
            "mix_hash": os.urandom(32),
            "nonce": constants.POST_MERGE_NONCE,
            "timestamp": int(time.time()) - 1,
        }
        owner = AccountDetails(balance=_FUNDS_WEI, nonce=0, code=b"", storage={})
        chain = _Rules.from_genesis(nodes, genesis, {Address(_CUSTOMER): owner})
        header = chain.get_canonical_block_header_by_number(BlockNumber(0))
        self._rules = _Rules(nodes, header)
        self._store_block(header, [], [])
        code = _compiled()
        for coin in TOKENS:
            arguments = encode(["string", "uint8", "uint256"], [coin.symbol, coin.decimals, SUPPLY * 10**coin.decimals])
            self._send(self._signed("", 0, code + arguments, gas=3_000_000))
        self._mine(1)
        deployed = self._database.rows("SELECT receipt FROM transactions ORDER BY position")
        for coin, row in zip(TOKENS, deployed, strict=True):
            found = json.loads(row["receipt"])["contractAddress"]
            if found.lower() != coin.contract.lower():
                raise NotPossible(f"{coin.symbol} is at {found} and should be at {coin.contract}")

    def _send(self, transaction: SignedTransactionAPI) -> str:
        row = ("0x" + transaction.hash.hex(), transaction.encode())
        self._database.execute("INSERT OR IGNORE INTO waiting (hash, raw) VALUES (?, ?)", row)
        return row[0]

    def _signed(self, to: str, value: int, data: bytes, gas: int = GAS) -> SignedTransactionAPI:
        builder: Any = self._rules.get_vm().get_transaction_builder()  # of this fork; the type is of the oldest
        unsigned = builder.new_unsigned_dynamic_fee_transaction(
            chain_id=CHAIN_ID,
            nonce=self._nonce(),
            max_priority_fee_per_gas=10**9,
            max_fee_per_gas=MAX_FEE,
            gas=gas,
            to=to_canonical_address(to) if to else b"",
            value=value,
            data=data,
            access_list=(),
        )
        signed: SignedTransactionAPI = unsigned.as_signed_transaction(CUSTOMER)
        return signed

    def _nonce(self) -> int:
        """Return the customer's next nonce, after the pending transactions."""
        raws = self._database.rows("SELECT raw FROM waiting")
        own = [one.nonce for row in raws if (one := self.decode(row["raw"])).sender == _CUSTOMER]
        return max([self.nonce(CUSTOMER_ADDRESS), *(nonce + 1 for nonce in own)])

    def _mine(self, blocks: int) -> list[str]:
        hashes = []
        for _ in range(blocks):
            parent = self._last()
            rows = self._database.rows(
                "SELECT seq, raw FROM waiting ORDER BY seq LIMIT ?", (_MAX_TRANSACTIONS_IN_A_BLOCK,)
            )
            if rows:
                self._database.execute("DELETE FROM waiting WHERE seq <= ?", (rows[-1]["seq"],))
            header = self._rules.create_header_from_parent(
                parent, gas_limit=GAS_LIMIT, timestamp=max(parent.timestamp + 1, int(time.time()))
            )
            vm = self._vm(header)
            fitting, receipts = [], []
            for transaction in (self.decode(row["raw"]) for row in rows):
                try:
                    receipt, _ = vm.apply_transaction(header, transaction)
                except ValidationError:
                    continue  # its nonce was used or not reached; real nodes drop it eventually, too
                header = vm.add_receipt_to_header(header, receipt)
                fitting.append(transaction)
                receipts.append(receipt)
            block = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, fitting, receipts)
            # The random part makes the hash of a replacing block differ from the replaced one's.
            mined = vm.mine_block(block, mix_hash=os.urandom(32)).block
            hashes.append(self._store_block(mined.header, fitting, receipts))
        return hashes

    def _store_block(
        self, header: BlockHeaderAPI, transactions: Sequence[SignedTransactionAPI], receipts: Sequence[ReceiptAPI]
    ) -> str:
        self._nodes[header.hash] = rlp_encode(header)
        written = wire.block(header, transactions, receipts)
        number, hash = header.block_number, written.body["hash"]
        self._database.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?)", (number, hash, rlp_encode(header), json.dumps(written.body))
        )
        for position, (one, body, receipt) in enumerate(
            zip(transactions, written.transactions, written.receipts, strict=True)
        ):
            row = (body["hash"], number, position, one.encode(), json.dumps(body), json.dumps(receipt))
            self._database.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?)", row)
            for log in receipt["logs"]:
                found = (number, int(log["logIndex"], 16), log["address"], json.dumps(log))
                self._database.execute("INSERT INTO logs VALUES (?, ?, ?, ?)", found)
        return str(hash)

    def _last(self) -> BlockHeaderAPI:
        row = self._database.row("SELECT header FROM blocks ORDER BY number DESC LIMIT 1")
        if row is None:
            raise NotPossible("there is no block")
        return _header(row["header"])

    def _vm(self, header: BlockHeaderAPI) -> Any:
        return self._rules.get_vm(header)


def _header(raw: bytes) -> BlockHeaderAPI:
    found: BlockHeaderAPI = rlp_decode(raw, ShanghaiBlockHeader)
    return found


def _compiled() -> bytes:
    """Return the token's bytecode. Compiled only when a chain is created, in a third of a second."""
    from vyper import compile_code

    source = files("adsandbox.chain").joinpath("token.vy").read_text()
    return bytes.fromhex(compile_code(source, output_formats=["bytecode"])["bytecode"][2:])
