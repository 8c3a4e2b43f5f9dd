"""What the server of a federation does with the replies of a round: average them, and remember who has moved what.

    theta <- sum_k w_k theta_k / sum_k w_k,     moved_k <- moved_k + |theta_k - theta|

The same object serves every engine: rounds in one process, Flower's simulation, Flower's processes. It must see the
weights of single clients, so it cannot stand behind secure aggregation.

Sources: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data" (AISTATS 2017); Chundawat et al., "ConDa" (arXiv 2410.04144) for what is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from genunlearn.records import honour_umask

State = Mapping[str, Tensor]
"""Weights and buffers of a network, by name."""
Since = Literal["round_start", "initial"]
"""What a client's weights are compared with: those it was sent in the round, or those before the first round."""
Weighting = Literal["examples", "equal"]

HISTORY_NAME = "history.safetensors"


@dataclass(frozen=True)
class Reply:
    """What a client sends back: its number, its weights, and how many items it has taught them."""

    client: int
    state: State
    examples: int


@dataclass(frozen=True)
class KeptRound:
    """A round that is kept whole: what was sent, and what each client made of it."""

    start: State
    states: Mapping[int, State]


@dataclass
class History:
    """What a server remembers of a federation.

    Attributes:
        initial: The weights before the first round.
        moved: By what it is measured from and by client, how far it has moved each weight, summed over rounds.
        last: By client, its weights of the last round that it took part in.
        kept: Whole rounds, where any are kept.
    """

    initial: State
    moved: dict[Since, dict[int, dict[str, Tensor]]] = field(default_factory=dict)
    last: dict[int, State] = field(default_factory=dict)
    kept: list[KeptRound] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write everything into one file of `folder`."""
        from safetensors.torch import save_file

        parts: dict[str, State] = {"initial": self.initial}
        parts |= {f"moved/{since}/{k}": s for since, by_client in self.moved.items() for k, s in by_client.items()}
        parts |= {f"last/{k}": state for k, state in self.last.items()}
        for number, one in enumerate(self.kept):
            parts[f"kept/{number}/start"] = one.start
            parts |= {f"kept/{number}/{k}": state for k, state in one.states.items()}
        flat = {f"{part}/{name}": t.contiguous() for part, state in parts.items() for name, t in state.items()}
        save_file({key: tensor.clone() for key, tensor in flat.items()}, folder / HISTORY_NAME)
        honour_umask(folder)

    @classmethod
    def load(cls, folder: Path) -> History:
        """Read what `save` has written."""
        from safetensors.torch import load_file

        parts: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(folder / HISTORY_NAME).items():
            part, _, name = key.rpartition("/")
            parts.setdefault(part, {})[name] = tensor
        found = cls(parts["initial"])
        numbers = sorted({int(part.split("/")[1]) for part in parts if part.startswith("kept/")})
        for part, state in sorted(parts.items()):
            place = part.split("/")
            if place[0] == "moved":
                since: Since = "initial" if place[1] == "initial" else "round_start"
                found.moved.setdefault(since, {})[int(place[2])] = state
            elif place[0] == "last":
                found.last[int(place[1])] = state
        for number in numbers:
            own = {part.split("/")[2]: s for part, s in parts.items() if part.startswith(f"kept/{number}/")}
            start = own.pop("start")
            found.kept.append(KeptRound(start, {int(k): state for k, state in sorted(own.items())}))
        return found


class Server:
    """Averages replies, and remembers what it is asked to.

    Its memory is that of the weights times the clients for each entry of `since`, as much again with `keeps_last`, and
    as much again for each round that is kept; it does not grow with the rounds.
    """

    def __init__(
        self,
        initial: State,
        *,
        since: Sequence[Since] = (),
        keeps_last: bool = False,
        keep_every: int = 0,
        weighting: Weighting = "examples",
    ) -> None:
        """Begin with nothing remembered but the initial weights.

        Args:
            initial: Weights before the first round.
            since: What movements are measured from; without any they are not recorded.
            keeps_last: Whether each client's last weights are kept.
            keep_every: Every which round is kept whole, beginning with the first; 0 keeps none.
            weighting: Whether a client counts by its items, or each the same.
        """
        self.history = History({name: tensor.detach().clone() for name, tensor in initial.items()})
        self.history.moved = {one: {} for one in since}
        self._keeps_last, self._keep_every, self._weighting = keeps_last, keep_every, weighting
        self._rounds = 0

    @torch.no_grad()
    def close(self, before: State, replies: Sequence[Reply]) -> State:
        """End a round: remember, and return the new weights. Replies may come in any order.

        Args:
            before: What the clients were sent.
            replies: At least one.
        """
        ordered = sorted(replies, key=lambda reply: reply.client)
        for reply in ordered:
            for since, moved in self.history.moved.items():
                start = before if since == "round_start" else self.history.initial
                _add(moved.setdefault(reply.client, {}), start, reply.state)
            if self._keeps_last:
                self.history.last[reply.client] = {name: t.clone() for name, t in reply.state.items()}
        if self._keep_every and self._rounds % self._keep_every == 0:
            states = {r.client: {name: t.clone() for name, t in r.state.items()} for r in ordered}
            self.history.kept.append(KeptRound({name: t.clone() for name, t in before.items()}, states))
        self._rounds += 1
        return self.combine(before, ordered)

    def combine(self, before: State, replies: Sequence[Reply]) -> State:
        """The new weights: the mean of the clients'."""
        return average([r.state for r in replies], [1 if self._weighting == "equal" else r.examples for r in replies])


def average(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of states, added up in their order; whole numbers are rounded."""
    total = sum(weights)
    shares = [weight / total for weight in weights]
    found = {}
    for name, first in states[0].items():
        mean = torch.zeros_like(first, dtype=first.dtype if first.is_floating_point() else torch.float64)
        for share, state in zip(shares, states, strict=True):
            mean += share * state[name].to(mean.dtype)
        found[name] = mean if first.is_floating_point() else mean.round().to(first.dtype)
    return found


def _add(moved: dict[str, Tensor], start: State, end: State) -> None:
    for name, tensor in end.items():
        if tensor.is_floating_point():
            distance = (tensor - start[name]).abs()
            moved[name] = moved[name] + distance if name in moved else distance
