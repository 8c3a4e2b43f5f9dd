"""Synthetic tables from Python: the configuration behind ``genunlearn synthetic``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.config import build_config, build_section, read_config
from genunlearn.config.network import NetworkSyntheticConfig, SyntheticRequestConfig
from genunlearn.errors import ConfigError
from genunlearn.registry import GENERATORS
from genunlearn.runs.network.synthetic_data import guess_domain

DOMAINS = ("classifier", "regression")


def synthetic_config(
    request: Mapping[str, Any],
    *,
    method: str = "gaussian_copula",
    file: Path | None = None,
    domain: str | None = None,
    overrides: Sequence[str] = (),
) -> NetworkSyntheticConfig:
    """The configuration behind `genunlearn synthetic`: the shipped one for the generator, with the request filled in.

    Args:
        request: ``data``, ``target``, ``forget``, ``drop`` and ``categories``.
        method: Name of the generator.
        file: Synthetic rows from elsewhere, for the generator ``given``.
        domain: ``classifier`` or ``regression``; None looks at the target.
        overrides: ``section.key=value`` strings.

    Raises:
        NameNotFound: No such generator.
        ConfigError: The request or an override is wrong.
        DataError: The table cannot be read.
    """
    name = GENERATORS.line(method, "network").name
    if domain is None:
        domain = guess_domain(build_section(SyntheticRequestConfig, request, "request"))
    if domain not in DOMAINS:
        raise ConfigError(f"domain = {domain!r}: a table is for classifier or regression")
    data = read_config(f"{domain}/synthetic/{name}")
    data["request"] = {**data.get("request", {}), **request}
    if name == "given" and file is not None:
        data["method"] = {**data.get("method", {}), "name": name, "file": str(file)}
    config = build_config(data, overrides)
    assert isinstance(config, NetworkSyntheticConfig)  # the shipped ones are
    return config
