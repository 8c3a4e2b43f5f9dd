"""Contribution dampening: shrink the weights that the clients that go have moved more than all clients have.

    r = Phi_C / Phi_F,   theta_i <- theta_i min(lambda r_i, U)   where r_i < alpha

Phi_F and Phi_C are the means, over the clients that go and over all clients, of how far each has moved a weight, summed
over rounds. Nobody trains, and no data are looked at.

Source: Chundawat, Niroula, Dhungana, Schoepf, Mandal, Brintrup, "ConDa: Fast Federated Unlearning with Contribution
Dampening" (arXiv 2410.04144), algorithm 1, and its released code. Authors' settings: alpha 0.4 (MNIST, CIFAR-100) or
0.3 (CIFAR-10); lambda and U 10 (MNIST) or 1.
Deviations: paper and code differ in three places, and each is an option whose default is what the text intends.
``rule``: the code dampens where r < alpha; algorithm 1 prints min(lambda r, U) < alpha r, which with lambda = U = 1 and
alpha < 1 changes nothing (``printed``). ``direction``: the code's one call swaps its arguments, so that it dampens what
the clients that go have moved least, and its mean over the others leaves out the first of them alone (``released``).
``since``: the code measures each round from the weights before the first one, so that clients soon look alike
(``initial``). Buffers are left as they are; the code dampens BatchNorm's statistics too (``buffers``). Clients that
teach one network move its weights alike, and r is never below the share of the clients that go: the published alphas
select next to nothing in the direction of the text, so the default is higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Needs, Splits
from genunlearn.data.network.clients import check_clients
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.federated.adapter import FederatedClassifier
from genunlearn.domains.network.federated.server import History, State
from genunlearn.errors import ConfigError, NeedNotMet
from genunlearn.ops.dampening import Rule, contribution_factor

Direction = Literal["others_over_forget", "released"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ConDa(Edit[FederatedClassifier]):
    """Contribution dampening."""

    name: ClassVar[str] = "conda"
    domains: ClassVar[frozenset[str]] = frozenset({"federated"})
    needs: ClassVar[Needs] = Needs(forget=False, full_weights=True)
    paper: ClassVar[str] = "Chundawat et al., arXiv 2410.04144"
    equation: ClassVar[str] = "theta *= min(lambda r, U) where r = Phi_C / Phi_F < alpha"

    alpha: Annotated[float, Field(gt=0, description="a weight is dampened where its ratio r is less")] = 0.5
    strength: Annotated[float, Field(ge=0, description="lambda; less dampens more, 0 sets to zero")] = 1.0
    upper: Annotated[float, Field(ge=0, description="U: larger factors are cut to it; above 1 weights can grow")] = 1.0
    rule: Annotated[Rule, Field(description="what is selected: by the code's rule, or as algorithm 1 is printed")] = (
        "ratio"
    )
    direction: Annotated[
        Direction, Field(description="all over those that go, as in the text, or the code's swapped ratio")
    ] = "others_over_forget"
    since: Annotated[Literal["round_start", "initial"], Field(description="what movements are measured from")] = (
        "round_start"
    )
    buffers: Annotated[bool, Field(description="dampen BatchNorm's running statistics too, as the code does")] = False

    def apply(self, model: FederatedClassifier, splits: Splits) -> EditReport:
        """Dampen the weights in place.

        Raises:
            DataError: The items to be forgotten are not those of whole clients.
            NeedNotMet: The server has not recorded what is asked.
            ConfigError: One of the clients never took part, or no weight can have a ratio below alpha.
        """
        federation = model.federation
        return self.forget(model, federation.remembered(self.name), federation.going(splits.forget))

    @torch.no_grad()
    def forget(self, model: NetworkDomain, history: History, going: Sequence[int]) -> EditReport:
        """The same from what a server remembers, where nobody has the clients' items; errors as `apply`."""
        moved = contributions(history, self.since, going, self.name)
        self._check_reach(len(going), len(moved))
        forget, others = compared(moved, going, self.direction)
        own: dict[str, Tensor] = dict(model.network.named_parameters())
        if self.buffers:
            own |= {name: tensor for name, tensor in model.network.named_buffers() if tensor.dim()}
        factors = dampening(forget, others, alpha=self.alpha, strength=self.strength, upper=self.upper, rule=self.rule)
        changed, count = [], 0
        for name, weight in own.items():
            weight.mul_(factors[name].to(weight))
            if dampened := int((factors[name] != 1).sum()):
                changed.append(name)
                count += dampened
        details = {"dampened": count, "weights": sum(weight.numel() for weight in own.values()), "clients": list(going)}
        return EditReport(changed=tuple(changed), details=details)

    def _check_reach(self, going: int, clients: int) -> None:
        least = going / clients
        if self.rule == "ratio" and self.direction == "others_over_forget" and self.alpha <= least:
            raise ConfigError(
                f"method.alpha = {self.alpha:g} selects nothing: where {going} of {clients} clients go, no ratio is "
                f"below {least:g}; raise it"
            )


def dampening(
    forget: State, others: State, *, alpha: float, strength: float = 1.0, upper: float = 1.0, rule: Rule = "ratio"
) -> dict[str, Tensor]:
    """The factor of each weight; needs neither a federation nor an engine. See `contribution_factor`."""
    return {
        name: contribution_factor(tensor, others[name], cutoff=alpha, strength=strength, upper=upper, rule=rule)
        for name, tensor in forget.items()
    }


def contributions(
    history: History, since: Literal["round_start", "initial"], going: Sequence[int], method: str
) -> dict[int, dict[str, Tensor]]:
    """How far each client has moved each weight.

    Raises:
        NeedNotMet: That was not recorded.
        ConfigError: No client goes, one never took part, or none would be left.
    """
    moved = history.moved.get(since)
    if not moved:
        raise NeedNotMet(f"method {method!r} needs movements since {since!r}, which the server has not recorded")
    check_clients(going, sorted(moved))
    return moved


def compared(
    moved: dict[int, dict[str, Tensor]], going: Sequence[int], direction: Direction
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What stands below and above the line of the ratio: means over groups of clients."""
    forget = _mean([moved[client] for client in going])
    if direction == "others_over_forget":
        return forget, _mean(list(moved.values()))
    return _mean([state for client, state in moved.items() if client != going[0]]), forget


def _mean(states: Sequence[State]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
