"""The JSON-RPC format of blocks, transactions, receipts and logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from rlp import encode as rlp_encode

Json = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A block with its transactions' hashes, the transactions, and their receipts with logs."""

    body: Json
    transactions: list[Json]
    receipts: list[Json]


def quantity(number: int) -> str:
    """Return a number in JSON-RPC's format."""
    return hex(number)


def data(raw: bytes) -> str:
    """Return bytes in JSON-RPC's format."""
    return "0x" + raw.hex()


def block(
    header: BlockHeaderAPI, transactions: Sequence[SignedTransactionAPI], receipts: Sequence[ReceiptAPI]
) -> Written:
    """Return a block and its content in JSON-RPC's format."""
    where = {"blockHash": data(header.hash), "blockNumber": quantity(header.block_number)}
    written, outcomes, gas_before, logs_before = [], [], 0, 0
    for position, (one, receipt) in enumerate(zip(transactions, receipts, strict=True)):
        found = {**where, "transactionIndex": quantity(position)}
        written.append(found | _transaction(one))
        outcomes.append(found | _receipt(one, receipt, gas_before, logs_before, found))
        gas_before = receipt.gas_used
        logs_before += len(receipt.logs)
    return Written(_header(header) | {"transactions": [data(one.hash) for one in transactions]}, written, outcomes)


def _header(header: BlockHeaderAPI) -> Json:
    return {
        "number": quantity(header.block_number),
        "hash": data(header.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "withdrawalsRoot": data(header.withdrawals_root or b""),
        "withdrawals": [],
        "miner": to_checksum_address(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "extraData": data(header.extra_data),
        "size": quantity(len(rlp_encode(header))),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "baseFeePerGas": quantity(header.base_fee_per_gas or 0),
        "timestamp": quantity(header.timestamp),
        "uncles": [],
    }


def _transaction(one: SignedTransactionAPI) -> Json:
    return {
        "hash": data(one.hash),
        "type": quantity(one.type_id or 0),
        "nonce": quantity(one.nonce),
        "from": data(one.sender),
        "to": data(one.to) if one.to else None,
        "value": quantity(one.value),
        "input": data(one.data),
        "gas": quantity(one.gas),
        "gasPrice": quantity(one.max_fee_per_gas),
        "r": quantity(one.r),
        "s": quantity(one.s),
    }


def _receipt(one: SignedTransactionAPI, receipt: ReceiptAPI, gas_before: int, logs_before: int, where: Json) -> Json:
    contract = None if one.to else data(keccak(rlp_encode([one.sender, one.nonce]))[12:])
    return {
        "transactionHash": data(one.hash),
        "type": quantity(one.type_id or 0),
        "from": data(one.sender),
        "to": data(one.to) if one.to else None,
        "contractAddress": contract,
        # Since Byzantium a receipt has one byte for success in place of the state root.
        "status": quantity(int.from_bytes(receipt.state_root, "big")),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used - gas_before),
        "logs": [
            where
            | {
                "address": data(log.address),
                "topics": [data(topic.to_bytes(32, "big")) for topic in log.topics],
                "data": data(log.data),
                "transactionHash": data(one.hash),
                "logIndex": quantity(logs_before + index),
                "removed": False,
            }
            for index, log in enumerate(receipt.logs)
        ],
        "logsBloom": data(receipt.bloom.to_bytes(256, "big")),
    }
