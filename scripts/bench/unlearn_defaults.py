#!/usr/bin/env python
"""Does `genunlearn.unlearn` at its defaults ruin an ordinary network? Every method on a residual network.

    python scripts/bench/unlearn_defaults.py --markdown docs/results/unlearn.md

The network is made to forget the digit three with nothing but the method's name given; where a warning came, once more
with ``soften=False``. What is shown are items that neither the network nor the method has seen.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from markdown_blocks import table
from torch import Tensor, nn

import genunlearn
from genunlearn.data.network.items import as_items, targets_of
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.errors import DamageWarning, RunError
from genunlearn.lab.network.digits import DIGITS, build_resnet
from genunlearn.records import write_text
from genunlearn.registry import METHODS

FORGOTTEN = 3
NOISE = 0.9
"""Standard deviation of what is added to pictures with values in [-1, 1]: the network then errs, as others do."""
OWN_SETTINGS = {"gkt": {"pseudo_batches": 20, "batch_size": 64}}
"""What is given besides the name: the 4,000 pseudo-batches of `gkt` take hours on a CPU."""

PAGE = """# What `genunlearn.unlearn` leaves of a network

    python scripts/bench/unlearn_defaults.py --markdown docs/results/unlearn.md

writes this page anew; here it took {minutes:.1f} minutes of CPU time. A residual network with BatchNorm, taught noisy
digits, forgets the digit three by `genunlearn.unlearn(network, forget=..., retain=..., method=NAME)` and nothing else;
only `gkt` does {gkt} here instead of 4,000 pseudo-batches of 256. Shown is the accuracy on items that were neither
learnt nor given: *three* is to fall to 0, *rest* is to stay. One network, one seed: a check, not a comparison.

As a method changes a network, `unlearn` watches the level of what must stay. Where that falls by more than 0.05, only
as much of the change of weights is kept as is safe, and a `DamageWarning` names the numbers (*warned*); methods whose
loss has no lower bound are ended at the first damage. *As published* is `soften=False`: nothing is held back, and the
warning alone is left; without a warning it gives the same. Methods that begin with fresh
weights (`retrain`, `gkt`) are never softened.
"""


@dataclass(frozen=True)
class Data:
    """Pictures and digits, learnt and not."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def main() -> None:
    """Run every method on both networks and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the page here")
    parser.add_argument("--methods", default="", help="comma-separated; all if empty")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    asked = [name for name in arguments.methods.split(",") if name] or methods()
    start = time.process_time()
    found = rows(*noisy(), asked)
    gkt = "{pseudo_batches} of {batch_size}".format(**OWN_SETTINGS["gkt"])
    page = PAGE.format(minutes=(time.process_time() - start) / 60, gkt=gkt)
    if arguments.markdown:
        write_text(arguments.markdown, f"{page}\n{found}\n")


def methods() -> list[str]:
    """All that fit a classifier."""
    return [line.name for line in METHODS.lines("network") if METHODS.load(line).fits(Classifier)]


def noisy() -> tuple[nn.Module, Data]:
    """A narrow network on noisy pictures, taught here."""
    data = data_of(NOISE)
    torch.manual_seed(0)
    domain = Classifier(build_resnet(10, width=8), learns_statistics=True)
    fit(domain, as_items((data.x, data.y)), FitConfig(epochs=8, learning_rate=0.01, weight_decay=0.01), seed=0)
    return domain.network, data


def data_of(noise: float) -> Data:
    """The digits of the lab, with noise."""
    generator, columns = torch.Generator().manual_seed(0), []
    for items in (DIGITS.data.train, DIGITS.data.test):
        x = torch.stack([item.inputs["x"] for item in items])
        columns += [x + noise * torch.randn(x.shape, generator=generator), targets_of(items)]
    return Data(*columns)


def rows(network: nn.Module, data: Data, asked: list[str]) -> str:
    """The table of one network."""
    found = [["before", *accuracies(network, data), "", "", ""]]
    for name in asked:
        softened, is_warned = carry_out(name, network, data, soften=True)
        published = carry_out(name, network, data, soften=False)[0] if is_warned else softened
        found.append([f"`{name}`", *softened, "yes" if is_warned else "no", *published])
        print(" | ".join(found[-1]), flush=True)
    header = ["Method", "Three", "Rest", "Warned", "Three, as published", "Rest, as published"]
    return table(header, found)


def carry_out(name: str, network: nn.Module, data: Data, *, soften: bool) -> tuple[list[str], bool]:
    """Accuracies after one method, and whether it warned."""
    changed, gone = copy.deepcopy(network), data.y == FORGOTTEN
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DamageWarning)
        try:
            genunlearn.unlearn(
                changed,
                forget=(data.x[gone], data.y[gone]),
                retain=(data.x[~gone], data.y[~gone]),
                method={"name": name, **OWN_SETTINGS.get(name, {})},
                soften=soften,
            )
        except RunError as error:
            print(f"{name}: {error}")
            return ["failed", "as before"], False
    own = [warning for warning in caught if issubclass(warning.category, DamageWarning)]
    for warning in own:
        print(warning.message)
    return accuracies(changed, data), bool(own)


@torch.no_grad()
def accuracies(network: nn.Module, data: Data) -> list[str]:
    """On unseen threes and on the unseen rest."""
    is_right, gone = network.eval()(data.test_x).argmax(1) == data.test_y, data.test_y == FORGOTTEN
    return [f"{is_right[group].float().mean():.2f}" for group in (gone, ~gone)]


if __name__ == "__main__":
    main()
