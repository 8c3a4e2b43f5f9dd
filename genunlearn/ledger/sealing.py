"""Requests without their texts: keyed hashes, which whoever has key and text can check, and nobody can read.

The key lies beside the ledger and is private. Without it a hash cannot be told from chance, not even by whoever tries
every likely name; destroying the key makes the register say no more than how many requests of which method there were.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError

OPEN_KEYS = frozenset({"model", "relation"})
"""Texts of a request that stay as they are."""
OPEN_HASHES = frozenset({"base", "patch", "model"})
"""Hashes of weights; those of texts could be found by trying likely ones."""
KEY_BYTES = 32


def make_or_read_key(path: Path) -> bytes:
    """The key at `path`, made on first use, readable for its owner alone whatever the umask.

    Raises:
        DataError: It cannot be read or written, or is no key.
    """
    try:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return read_key(path)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"{path}: the ledger's key cannot be written ({error.strerror})") from None
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The key at `path`.

    Raises:
        DataError: It cannot be read, or is no key.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise DataError(f"{path}: the ledger's key cannot be read ({error.strerror})") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DataError(f"{path}: not a ledger's key; put the right file back, or remove it to go on with a new key")
    return key


def seal_text(text: str, key: bytes) -> str:
    """The keyed hash of a text; how its letters are composed and white space around it make no difference."""
    plain = unicodedata.normalize("NFC", text.strip())
    return f"hmac-sha256:{hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()}"


class Sealer:
    """Puts keyed hashes in the place of texts, and finds these texts again inside of others.

    Attributes:
        name: What tells the key from others; it says nothing of the key itself.
    """

    def __init__(self, key: bytes) -> None:
        """Begin with no texts."""
        self._key, self._texts = key, set[str]()
        self.name = hashlib.sha256(key).hexdigest()[:16]

    def seal(self, value: Any) -> Any:
        """`value` with every text sealed, but those under `OPEN_KEYS`; numbers stay."""
        if isinstance(value, str):
            self._texts.add(value)
            return seal_text(value, self._key)
        if isinstance(value, Mapping):
            return {name: part if name in OPEN_KEYS else self.seal(part) for name, part in value.items()}
        return [self.seal(part) for part in value] if isinstance(value, list | tuple) else value

    def seal_within(self, value: Any) -> Any:
        """`value`, in whose texts every sealed one is replaced where it stands as a whole, in capitals or not."""
        if isinstance(value, str):
            for text in sorted(filter(str.strip, self._texts), key=len, reverse=True):
                value = re.sub(rf"(?i)(?<!\w){re.escape(text)}(?!\w)", seal_text(text, self._key), value)
            return value
        if isinstance(value, Mapping):
            return {name: self.seal_within(part) for name, part in value.items()}
        return [self.seal_within(part) for part in value] if isinstance(value, list | tuple) else value

    def seal_hashes(self, hashes: Mapping[str, str]) -> dict[str, str]:
        """Hashes by name; those of texts are sealed."""
        return {name: value if name in OPEN_HASHES else seal_text(value, self._key) for name, value in hashes.items()}


def seal_fields(fields: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The fields of an entry without what was deleted: texts of the request, and wherever else these appear.

    Numbers stay, and so do texts under `OPEN_KEYS` and hashes under `OPEN_HASHES`.
    """
    sealer = Sealer(key)
    sealed = {
        "request": sealer.seal(fields["request"]),
        "outcome": sealer.seal_within(fields["outcome"]),
        "hashes": sealer.seal_hashes(fields["hashes"]),
        "record": seal_text(fields["record"], key),
    }
    return {**fields, **sealed, "sealed_with": sealer.name}
