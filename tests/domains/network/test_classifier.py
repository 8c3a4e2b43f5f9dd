"""The adapter of classifiers and regressors: any module in, the same module out."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from genunlearn.contracts import Examples
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.errors import DataError, MismatchError, SourceNotFound
from genunlearn.ops.fisher import per_example_gradients


def small_conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


@pytest.fixture
def images() -> list[Item]:
    generator = torch.Generator().manual_seed(0)
    return as_items((torch.randn(12, 1, 8, 8, generator=generator), torch.arange(12) % 3))


def test_losses_by_hand() -> None:
    linear = nn.Linear(1, 2, bias=False)
    linear.weight.data = torch.tensor([[math.log(3.0)], [0.0]])
    items = as_items((torch.ones(2, 1), torch.tensor([0, 1])))
    domain = Classifier(linear)
    # Odds 3 to 1: CE = log(4/3) and log 4.
    assert domain.example_loss(domain.collate(items)).tolist() == pytest.approx([math.log(4 / 3), math.log(4)])


@pytest.mark.parametrize(("error", "loss"), [("mse", (4 + 0) / 2), ("l1", (2 + 0) / 2), ("huber", (1.5 + 0) / 2)])
def test_regression_errors_by_hand(error: str, loss: float) -> None:
    # Outputs (1, 1) against targets (3, 1); Huber with threshold 1 gives 2 - 1/2 for a difference of 2.
    domain = Regressor(nn.Identity(), error=error)
    assert domain.loss_of(torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 1.0]])).tolist() == [loss]


def test_errors_are_counted_in_units_of_the_scale() -> None:
    # A difference of 6 at scale 2 is one of 3.
    assert Regressor(nn.Identity(), scale=2.0).loss_of(torch.tensor([[7.0]]), torch.tensor([1.0])).tolist() == [9.0]


def test_a_regressor_of_one_number_takes_plain_targets() -> None:
    domain = Regressor(nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)))
    items = as_items((torch.zeros(3, 2), torch.tensor([1.0, 2.0, 3.0])))
    with torch.no_grad():
        domain.module[0].bias.fill_(1.0)
    assert domain.example_loss(domain.collate(items)).tolist() == [0.0, 1.0, 4.0]


def test_the_same_module_is_trained_and_given_back(images: list[Item]) -> None:
    module = small_conv()
    domain = Classifier(module)
    assert domain.module is module
    domain.example_loss(domain.collate(images)).sum().backward()
    assert module[0].weight.grad is not None


def test_channels_last_for_convolutions(images: list[Item]) -> None:
    plain = small_conv().eval()
    expected = plain(torch.stack([item.inputs["x"] for item in images])).detach()
    domain = Classifier(plain)
    batch = domain.collate(images)
    assert domain.module[4].weight.is_contiguous(memory_format=torch.channels_last)
    assert batch["inputs.x"].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(domain.predict(images), expected, rtol=1e-4, atol=1e-6)


def test_statistics_stay_unless_they_are_to_be_learnt(images: list[Item]) -> None:
    domain = Classifier(small_conv())
    norm = domain.module[1]
    domain.module.train()
    domain.output_logits(domain.collate(images))
    assert norm.running_mean.tolist() == [0.0] * 4
    domain.learns_statistics = True
    domain.output_logits(domain.collate(images))
    assert norm.running_mean.abs().sum() > 0


def test_batch_of_one_in_learning_batchnorm_is_refused(images: list[Item]) -> None:
    domain = Classifier(small_conv(), learns_statistics=True)
    domain.module.train()
    with pytest.raises(DataError, match=r"batch of 1 .* raise train.batch_size"):
        domain.output_logits(domain.collate(images[:1]))
    domain.learns_statistics = False
    assert domain.output_logits(domain.collate(images[:1])).shape == (1, 3)


def test_sequences_of_different_lengths_are_padded() -> None:
    items = [
        Item(id=str(n), inputs={"input_ids": torch.arange(1, n + 1)}, target=torch.tensor(0)) for n in (1, 3)
    ]  # fmt: skip
    domain = Classifier(nn.Linear(1, 2), padding={"input_ids": 9})
    assert domain.collate(items)["inputs.input_ids"].tolist() == [[1, 9, 9], [1, 2, 3]]


def test_extras_travel_with_the_batch() -> None:
    extra = {"teacher": torch.tensor([0.5])}
    item = Item(id="a", inputs={"x": torch.zeros(2)}, target=torch.tensor(1), extras=extra)
    assert Classifier(nn.Linear(2, 2)).collate([item, item])["teacher"].tolist() == [[0.5], [0.5]]


def test_fresh_is_decided_by_its_seed_and_leaves_the_network_alone(images: list[Item]) -> None:
    domain = Classifier(small_conv())
    before, state = domain.predict(images), torch.random.get_rng_state()
    first, again, other = domain.fresh(1), domain.fresh(1), domain.fresh(2)
    assert torch.equal(first.predict(images), again.predict(images))
    assert not torch.equal(first.predict(images), other.predict(images))
    assert torch.equal(domain.predict(images), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.learns_statistics and not domain.learns_statistics
    assert torch.equal(first.network[1].running_mean, torch.zeros(4))


def test_reinitialise_keeps_the_module(images: list[Item]) -> None:
    domain = Classifier(small_conv())
    module, expected = domain.module, domain.fresh(3).predict(images)
    domain.reinitialise(3)
    assert domain.module is module
    assert torch.equal(domain.predict(images), expected)


def test_the_stranger_knows_nothing_of_the_network(images: list[Item]) -> None:
    domain = Classifier(small_conv(), untrained_seed=5)
    batch = domain.collate(images)
    before = domain.untrained_logits(batch)
    with torch.no_grad():
        domain.module[7].weight.zero_()
    torch.testing.assert_close(domain.untrained_logits(batch), before)
    torch.testing.assert_close(before, domain.fresh(5).predict(images))
    assert not before.requires_grad


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def test_weights_without_a_rule_need_a_builder() -> None:
    with pytest.raises(MismatchError, match=r"Own .* build="):
        Classifier(Own()).fresh(0)
    assert Classifier(Own(), build=Own).fresh(0).network.scale.tolist() == [1.0, 1.0]


def test_a_network_under_lora_has_no_untrained_twin() -> None:
    from peft import LoraConfig, get_peft_model

    domain = Classifier(get_peft_model(nn.Sequential(nn.Linear(2, 2)), LoraConfig(target_modules=["0"])))
    with pytest.raises(MismatchError, match=r"set parameters.kind = 'full'"):
        domain.reinitialise(0)


def test_features_are_the_last_map_of_each_picture_size(images: list[Item]) -> None:
    domain = Classifier(small_conv().eval())
    outputs, maps = domain.features(domain.collate(images))
    assert domain.feature_layers == ("2", "5")
    assert [tuple(m.shape) for m in maps] == [(12, 64), (12, 16)]
    torch.testing.assert_close(outputs, domain.output_logits(domain.collate(images)))


def test_features_of_a_dense_network_are_its_hidden_layers() -> None:
    domain = Regressor(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)))
    _, maps = domain.features(domain.collate(as_items((torch.randn(3, 4), torch.randn(3)))))
    assert [tuple(m.shape) for m in maps] == [(3, 6), (3, 5)]
    with pytest.raises(MismatchError, match="no layer 'trunk'"):
        Regressor(nn.Linear(4, 1), feature_layers=["trunk"]).features(
            domain.collate(as_items((torch.zeros(1, 4), torch.zeros(1))))
        )


def test_per_example_gradients_through_batchnorm_and_hub_like_outputs(images: list[Item]) -> None:
    domain = Classifier(small_conv().eval())
    batch = domain.collate(images[:4])
    weights = dict(domain.network.named_parameters())
    (gradients,) = per_example_gradients(domain.sample_loss, weights, batch.tensors)
    domain.example_loss(batch).sum().backward()
    for name, weight in weights.items():
        torch.testing.assert_close(gradients[name].sum(0), weight.grad, rtol=1e-4, atol=1e-5)


def test_saved_weights_come_back(images: list[Item], tmp_path: Path) -> None:
    domain, other = Classifier(small_conv()), Classifier(small_conv())
    domain.save(tmp_path)
    other.load_weights(tmp_path)
    assert torch.equal(domain.predict(images), other.predict(images))
    with pytest.raises(SourceNotFound, match="no weights at"):
        other.load_weights(tmp_path / "nowhere")
    with pytest.raises(MismatchError, match="another architecture"):
        Classifier(nn.Linear(1, 1)).load_weights(tmp_path)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(label: int) -> None:
    items = as_items((torch.zeros(2, 4), torch.tensor([0, label])))
    with pytest.raises(DataError, match=rf"label {label} of item 'item-1': .* labels are 0 to 2"):
        Classifier(nn.Linear(4, 3)).check(items)


def test_targets_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(DataError, match="use the regression domain"):
        Classifier(nn.Linear(4, 3)).check(as_items((torch.zeros(2, 4), torch.zeros(2))))
    with pytest.raises(DataError, match="2 numbers for a network with 1 outputs"):
        Regressor(nn.Linear(4, 1)).check(as_items((torch.zeros(2, 4), torch.zeros(2, 2))))
    Regressor(nn.Linear(4, 1)).check(as_items((torch.zeros(2, 4), torch.zeros(2))))


def test_a_network_that_returns_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> tuple:
            return self.layer(x), None

    domain = Classifier(Pair())
    with pytest.raises(MismatchError, match="returns tuple"):
        domain.output_logits(domain.collate(as_items((torch.zeros(1, 2), torch.tensor([0])))))


def test_encode_needs_a_processor() -> None:
    with pytest.raises(MismatchError, match="no tokenizer or image processor"):
        Classifier(nn.Linear(1, 1)).encode("text")


@pytest.fixture
def image_folder(tmp_path: Path, opens_images: None) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ResNetConfig(
        num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path / "image")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "image")
    return tmp_path / "image"


def test_image_classifiers_load_from_a_folder_of_the_hub(image_folder: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    domain = Classifier.load(str(image_folder), device="cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    rows = [{"image": Image.fromarray(pixels), "label": 3}] * 2
    items = as_items(rows, encode=domain.encode)
    assert items[0].inputs["pixel_values"].shape == (3, 32, 32)
    domain.check(items)
    assert domain.fresh(0).predict(items).shape == (2, 4)
    domain.save(tmp_path / "saved")
    torch.testing.assert_close(
        Classifier.load(str(tmp_path / "saved"), device="cpu").predict(items), domain.predict(items)
    )


def test_a_model_of_another_kind_is_refused(image_folder: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    with pytest.raises(MismatchError, match="for domain 'classifier', asked for as 'regression'"):
        Regressor.load(str(image_folder))
    tiny = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    BertModel(tiny).save_pretrained(tmp_path / "bert")
    with pytest.raises(MismatchError, match="holds a BertModel"):
        Classifier.load(str(tmp_path / "bert"))
    with pytest.raises(SourceNotFound, match="no model at"):
        Classifier.load(str(tmp_path / "missing"))


def test_one_example_of_weight_zero_fills_a_batch(images: list[Item]) -> None:
    batch = Classifier(small_conv()).collate(images[:2])
    assert isinstance(batch, Examples)
    assert batch.ids == ("item-0", "item-1") and batch.weight.tolist() == [1.0, 1.0]
