"""The ledger of requests: one JSON line a finished run, each line bound to the one before by its hash."""

from genunlearn.ledger.chain import GENESIS, Problem
from genunlearn.ledger.entries import (
    Addition,
    Place,
    Verification,
    append_to_ledger,
    check_ledger,
    find_entries,
    find_run,
    find_sealer,
    is_before,
    list_ledger,
    open_sealer,
    read_ledger,
    undo_entry,
    verify_ledger,
)
from genunlearn.ledger.sealing import Sealer

__all__ = [
    "GENESIS",
    "Addition",
    "Place",
    "Problem",
    "Sealer",
    "Verification",
    "append_to_ledger",
    "check_ledger",
    "find_entries",
    "find_run",
    "find_sealer",
    "is_before",
    "list_ledger",
    "open_sealer",
    "read_ledger",
    "undo_entry",
    "verify_ledger",
]
