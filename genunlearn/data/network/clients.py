"""Who of a federation has which items: splits in which every client sees the classes in shares of its own.

    for each class: shares of the clients ~ Dirichlet(concentration), 0 for who already has its part of the whole;
    drawn again until every client has enough

Source: Chundawat et al., "ConDa" (arXiv 2410.04144), released code, after Li et al., "Federated Learning on Non-IID
Data Silos" (ICDE 2022).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from genunlearn.errors import ConfigError, DataError

MOST_DRAWS = 1000
CLIENT = "client:"


def dirichlet_split(
    labels: Tensor, clients: int, *, concentration: float = 0.5, least: int = 10, seed: int = 0
) -> list[list[int]]:
    """Row numbers of each client, every row once.

    Args:
        labels: ``(items,)`` class numbers.
        clients: How many clients there are.
        concentration: Of the Dirichlet distribution: the smaller, the more the clients differ; from 100 on they hardly
            do.
        least: Fewest items of a client.
        seed: Decides the draw.

    Raises:
        DataError: There are too few items, or no draw gives every client enough.
    """
    count = len(labels)
    if count < clients * least:
        raise DataError(f"{count} items for {clients} clients with at least {least} each: take fewer clients")
    generator, classes = np.random.default_rng(seed), labels.numpy()
    for _ in range(MOST_DRAWS):
        parts: list[list[int]] = [[] for _ in range(clients)]
        for kind in np.unique(classes):
            rows = np.flatnonzero(classes == kind)
            generator.shuffle(rows)
            shares = generator.dirichlet(np.full(clients, concentration))
            shares = np.where([len(part) < count / clients for part in parts], shares, 0.0)
            if not shares.sum():  # every share that is left has been rounded to 0
                break
            ends = (np.cumsum(shares / shares.sum()) * len(rows)).astype(int)[:-1]
            for part, own in zip(parts, np.split(rows, ends), strict=True):
                part += own.tolist()
        else:
            if min(map(len, parts)) >= least:
                return [sorted(part) for part in parts]
    raise DataError(
        f"no draw in {MOST_DRAWS} gave each of {clients} clients {least} items: take fewer clients, or a larger "
        f"concentration than {concentration:g}"
    )


def read_clients(request: str | None, clients: int) -> tuple[int, ...]:
    """The clients that a request such as ``client:0`` or ``client:0,3`` names, sorted.

    Raises:
        ConfigError: It names none, one that never took part, or all.
    """
    text = (request or "").strip()
    if not text.removeprefix(CLIENT):
        raise ConfigError("request.forget is empty: name clients that are to go, for instance client:0 or client:0,3")
    if not re.fullmatch(rf"{CLIENT}\d+(,\d+)*", text):
        raise ConfigError(f"request.forget = {text!r}: write client:NUMBER or client:NUMBER,NUMBER")
    asked = sorted({int(part) for part in text.removeprefix(CLIENT).split(",")})
    return check_clients(asked, range(clients))


def check_clients(asked: Sequence[int], known: Sequence[int]) -> tuple[int, ...]:
    """The clients that are to go, if they took part and others stay.

    Raises:
        ConfigError: There is none, one never took part, or none would be left.
    """
    if not asked:
        raise ConfigError("no client is to be forgotten: name at least one")
    if strangers := [client for client in asked if client not in known]:
        is_range = list(known) == list(range(known[0], known[-1] + 1))
        names = f"{known[0]} to {known[-1]}" if is_range else ", ".join(map(str, known))
        raise ConfigError(f"client {strangers[0]} never took part: the clients of this federation are {names}")
    if len(asked) == len(known):
        raise ConfigError(f"all {len(known)} clients are to be forgotten: nobody would be left whose model to keep")
    return tuple(sorted(asked))
