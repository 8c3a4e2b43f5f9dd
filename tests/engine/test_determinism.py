"""What a GPU is asked for, told by the flags of torch and by an operation that no device computes deterministically."""

from __future__ import annotations

import os
import warnings

import pytest
import torch

from genunlearn.engine.determinism import reproducible
from genunlearn.processes import this_process

GPU = torch.device("cuda")


def flags() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def test_a_gpu_is_asked_for_deterministic_algorithms_within_the_block_only():
    with reproducible(torch.device("cpu")):
        assert flags() == (False, False)
    with reproducible(GPU):
        assert flags() == (True, True)
    assert flags() == (False, False)


def test_who_asks_for_errors_gets_them():
    torch.use_deterministic_algorithms(True)
    try:
        with reproducible(GPU), pytest.raises(RuntimeError, match="put_"):
            torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        assert flags() == (True, False)
    finally:
        torch.use_deterministic_algorithms(False)


def test_operations_without_one_are_named_and_other_warnings_pass():
    with warnings.catch_warnings(record=True) as said, reproducible(GPU) as lacking:
        warnings.simplefilter("always")
        for _ in range(2):
            torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        warnings.warn("Flash Attention defaults to a non-deterministic algorithm. To enable", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert lacking == {"put_", "Flash Attention"}
    assert [str(each.message) for each in said] == ["something else"]


def test_cublas_is_given_a_workspace_of_fixed_size():
    this_process()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
