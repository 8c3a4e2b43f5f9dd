"""Labelled items from tensors, datasets and tables, and what is refused."""

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from genunlearn.data.network.items import Item, as_items, as_splits, classes_of
from genunlearn.errors import DataError

INPUTS, LABELS = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 1])


def summary(items: list[Item]) -> list[tuple]:
    return [(item.id, item.inputs["x"].tolist(), item.target.item(), item.subclass) for item in items]


EXPECTED = [("item-0", [0.0, 1.0], 0, None), ("item-1", [2.0, 3.0], 1, None), ("item-2", [4.0, 5.0], 1, None)]


def test_every_kind_of_source_gives_the_same_items() -> None:
    from datasets import Dataset

    rows = [{"x": x.tolist(), "label": int(y)} for x, y in zip(INPUTS, LABELS, strict=True)]
    assert summary(as_items((INPUTS, LABELS))) == EXPECTED
    assert summary(as_items((INPUTS.double().numpy(), LABELS.numpy()))) == EXPECTED
    assert summary(as_items(TensorDataset(INPUTS, LABELS))) == EXPECTED
    assert summary(as_items(rows)) == EXPECTED
    assert summary(as_items(Dataset.from_list(rows))) == EXPECTED


def test_types_of_targets() -> None:
    assert as_items((INPUTS, np.array([0.5, 1.0, 2.0])))[0].target.dtype == torch.float32
    assert as_items((INPUTS, np.array([0, 1, 2], dtype=np.uint8)))[0].target.dtype == torch.int64


def test_subclasses_and_encoded_inputs() -> None:
    (item,) = as_items([{"text": "abc", "label": 1, "subclass": 7}], encode=lambda t: {"ids": torch.tensor([len(t)])})
    assert (item.inputs["ids"].tolist(), item.subclass) == ([3], 7)
    assert [item.subclass for item in as_items((INPUTS, LABELS, [4, 5, 6]))] == [4, 5, 6]


def test_items_are_kept() -> None:
    items = as_items((INPUTS, LABELS))
    assert as_items(items) == items


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((INPUTS, LABELS[:2]), "parts of 3, 2 rows"),
        ([], "without rows"),
        ([{"label": 1}], "one of x, image"),
        ([(torch.zeros(1),)], "give \\(input, target\\)"),
        ([("some text", 1)], "give encode="),
        (7, "type int"),
        ([{"a": None, "label": 1}], "item-0: input 'a' is blank: remove the row"),
        ((torch.tensor([[1.0, torch.nan]]), [0]), "item-0: 'x' holds NaN or infinity"),
        ((INPUTS[:1], torch.tensor([torch.inf])), "'target' holds NaN"),
    ],
)
def test_bad_data_is_refused(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_items(data)


def test_splits_from_separate_sources() -> None:
    splits = as_splits((INPUTS[:1], LABELS[:1]), (INPUTS[1:], LABELS[1:]))
    assert [item.id for item in splits.forget] == ["forget-0"]
    assert [item.id for item in splits.retain] == ["retain-0", "retain-1"]
    assert splits.holdout is None


def test_overlap_of_forget_and_retain_is_refused() -> None:
    with pytest.raises(DataError, match="1 examples are in both forget and retain, first 'forget-0' = 'retain-2'"):
        as_splits((INPUTS[2:], LABELS[2:]), (INPUTS, LABELS))
    with pytest.raises(DataError, match="forget = None"):
        as_splits(None, (INPUTS, LABELS))


def test_classes() -> None:
    assert classes_of(as_items((INPUTS, LABELS))) == [0, 1]
    with pytest.raises(DataError, match="use a value range"):
        classes_of(as_items((INPUTS, LABELS.float())))


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(INPUTS, LABELS, strict=True)


class Loader:
    """What gives batches and is no torch loader, such as one of a training framework."""

    def __iter__(self):
        yield INPUTS[:2], LABELS[:2]
        yield INPUTS[2:], LABELS[2:]


@pytest.mark.parametrize(
    "data",
    [
        [INPUTS, LABELS],
        {"x": INPUTS, "label": LABELS},
        {"x": INPUTS.tolist(), "y": LABELS.numpy()},
        ({"x": INPUTS}, LABELS),
        list(zip(INPUTS, LABELS, strict=True)),
        ((x, y) for x, y in zip(INPUTS, LABELS, strict=True)),
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=2),
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=None),
        DataLoader([{"x": x, "label": y} for x, y in zip(INPUTS, LABELS, strict=True)], batch_size=2),
        Stream(),
        DataLoader(Stream(), batch_size=2),
        Loader(),
    ],
    ids=lambda data: type(data).__name__,
)
def test_data_is_taken_as_callers_keep_it(data: object) -> None:
    assert summary(as_items(data)) == EXPECTED


def test_batches_of_numbers_to_predict_come_apart_too() -> None:
    loader = DataLoader(TensorDataset(INPUTS, torch.tensor([0.5, 1.0, 2.0])), batch_size=3)
    assert [item.target.item() for item in as_items(loader)] == [0.5, 1.0, 2.0]


def test_tokenized_texts_keep_their_names() -> None:
    columns = {"text": ["a", "b"], "input_ids": [[1, 2], [3]], "attention_mask": [[1, 1], [1]], "labels": [0, 1]}
    first, second = as_items(columns)
    assert {name: tensor.tolist() for name, tensor in first.inputs.items()} == {
        "input_ids": [1, 2],
        "attention_mask": [1, 1],
    }
    assert second.inputs["input_ids"].tolist() == [3]


def test_columns_of_other_names_are_named_inputs() -> None:
    (item,) = as_items({"left": [[1.0]], "right": [[2.0]], "y": [1]})
    assert sorted(item.inputs) == ["left", "right"]


def test_short_numbers_are_widened() -> None:
    (item,) = as_items((torch.ones(1, 2, dtype=torch.bfloat16), [0]))
    assert item.inputs["x"].dtype == torch.float32


def test_what_is_no_data_set_is_one_line_that_says_how() -> None:
    how = r"give \(inputs, targets\) tensors, a mapping of columns"
    for data in ("class:3", INPUTS, np.zeros(3), 7, pandas.DataFrame({"x": [1.0], "label": [0]})):
        with pytest.raises(DataError, match=f"a data set of type {type(data).__name__}.*{how}"):
            as_items(data)
    for data, message in (
        ({"x": INPUTS, "y": LABELS[:2]}, "columns of different length: 'x' has 3, 'y' has 2 rows"),
        ({"x": INPUTS, "y": 3}, "column 'y' is of type int: give a tensor, array or list"),
        ({"x": INPUTS}, "one of label, labels"),
        ([(INPUTS[0], 1, {"path": "a.png"})], "subclass: dict is no whole number"),
    ):
        with pytest.raises(DataError, match=message):
            as_items(data)


def test_a_wrong_side_is_named() -> None:
    with pytest.raises(DataError, match="retain: a data set of type int"):
        as_splits((INPUTS, LABELS), 7)
