"""The ledger of requests: one JSON line a finished run, each line bound to the one before by its hash."""

from genunlearn.ledger.chain import GENESIS, Problem
from genunlearn.ledger.entries import (
    Addition,
    Verification,
    append_to_ledger,
    check_ledger,
    find_entries,
    list_ledger,
    read_ledger,
    undo_entry,
    verify_ledger,
)

__all__ = [
    "GENESIS",
    "Addition",
    "Problem",
    "Verification",
    "append_to_ledger",
    "check_ledger",
    "find_entries",
    "list_ledger",
    "read_ledger",
    "undo_entry",
    "verify_ledger",
]
