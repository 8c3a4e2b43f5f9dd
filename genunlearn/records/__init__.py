"""What a run writes: results with intervals, the record of the run, hashes, whole files, and reading them back."""

from genunlearn.records.files import (
    check_writable,
    hash_files,
    hash_json,
    honour_umask,
    making,
    read_json,
    replacing,
    whole_json,
    write_json,
    write_jsonl,
    write_text,
)
from genunlearn.records.record import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    RECORD_NAME,
    Result,
    RunRecord,
    now,
    read_record,
)
from genunlearn.records.schema import SCHEMA

__all__ = [
    "COMPLETED",
    "FAILED",
    "INTERRUPTED",
    "RECORD_NAME",
    "SCHEMA",
    "Result",
    "RunRecord",
    "check_writable",
    "hash_files",
    "hash_json",
    "honour_umask",
    "making",
    "now",
    "read_json",
    "read_record",
    "replacing",
    "whole_json",
    "write_json",
    "write_jsonl",
    "write_text",
]
