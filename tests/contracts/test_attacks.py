"""What every registered attack promises; a new line in `ATTACKS` is covered without a change here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from genunlearn.contracts import ORACLE, UNLEARNED, Attack, Beside, Domain
from genunlearn.errors import ConfigError, MismatchError
from genunlearn.records import Result
from genunlearn.registry import ATTACKS, DOMAINS, Line, family_of
from genunlearn.runs.methods import build_attack
from tests.attack_worlds import ATTACK_WORLDS, BUDGETS, AttackWorld
from tests.contracts.fields import check_fields, check_is_complete_and_frozen, limits

LINES: dict[str, Line] = {f"{line.family}/{line.name}": line for line in ATTACKS.lines()}
KINDS: dict[str, type[Attack]] = {key: ATTACKS.load(line) for key, line in LINES.items()}
PAIRS = [(key, domain) for key, kind in KINDS.items() for domain in sorted(kind.domains) if domain in ATTACK_WORLDS]

every_attack = pytest.mark.parametrize("key", KINDS)
every_pair = pytest.mark.parametrize(("key", "domain"), PAIRS)


@pytest.fixture(scope="session")
def attack_worlds(worlds, tmp_path_factory) -> Callable[[str], AttackWorld]:
    """The world in which attacks on a domain are tried, made once."""
    made: dict[str, AttackWorld] = {}

    def world(domain: str) -> AttackWorld:
        if domain not in made:
            made[domain] = ATTACK_WORLDS[domain](worlds(domain), tmp_path_factory.mktemp("attacked"))
        return made[domain]

    return world


def build(key: str, domain: str, **fields: Any) -> Attack:
    """As a run does it."""
    return build_attack(LINES[key].name, fields, "evaluate.attacks, {}".format, domain=domain)


def in_small(key: str, domain: str) -> Attack:
    return build(key, domain, **BUDGETS.get(key, {}))


# ---- what an attack says of itself ----------------------------------------------------------------------------


@every_attack
def test_it_is_registered_under_its_own_name_for_models_of_its_family(key):
    kind = KINDS[key]
    assert issubclass(kind, Attack) and kind.name == LINES[key].name and kind.version >= 1
    assert kind.domains and kind.domains <= set(DOMAINS.names())
    assert not LINES[key].family or {family_of(domain) for domain in kind.domains} == {LINES[key].family}
    assert kind.domains & ATTACK_WORLDS.keys(), "no world to be tried in"
    assert kind.bounds[0] < kind.bounds[1]


@every_attack
def test_it_says_what_it_is_and_what_the_attacker_may_do(key):
    assert KINDS[key]().budget.strip()
    assert (inspect.getdoc(KINDS[key]) or "").splitlines()[0].endswith((".", ":"))
    assert inspect.getdoc(inspect.getmodule(KINDS[key]))


@every_attack
def test_it_is_complete_by_default_frozen_and_keyword_only(key):
    check_is_complete_and_frozen(KINDS[key])


@every_attack
def test_every_field_has_a_meaning_and_every_number_a_bound(key):
    check_fields(KINDS[key])


@every_attack
def test_bounds_are_enforced(key):
    for field, value, _ in limits(KINDS[key]):
        complaint = rf"^evaluate.attacks, {field}: {LINES[key].name}\.{field} = .*: input should"
        with pytest.raises(ConfigError, match=complaint):
            build(key, min(KINDS[key].domains), **{field: value})


@every_attack
def test_another_domain_of_a_configuration_is_refused(key):
    others = [name for name in DOMAINS.names(LINES[key].family) if name not in KINDS[key].domains]
    for other in others:
        with pytest.raises(MismatchError, match=f"'{LINES[key].name}' does not fit domain '{other}': it fits "):
            build(key, other)


class Cartography(Domain):
    """A domain that no attack knows."""

    name = "cartography"
    collate = example_loss = save = None


@every_attack
def test_a_model_of_another_domain_is_skipped_with_a_reason(key, attack_worlds):
    domain = min(KINDS[key].domains)
    (result,) = in_small(key, domain).run(Cartography(), attack_worlds(domain).splits, UNLEARNED)
    assert (
        result.value is None
        and result.skipped == f"for {' and '.join(sorted(KINDS[key].domains))}, not for cartography"
    )


# ---- what it does ---------------------------------------------------------------------------------------------


def check_results(kind: type[Attack], results: list[Result], target: str) -> None:
    """Each has a value with n and an interval around it, or a reason why not."""
    assert results
    for result in results:
        assert (result.target, result.version) == (target, kind.version)
        if result.value is None:
            assert result.skipped, f"{result.name} has neither value nor reason"
            continue
        assert result.skipped is None and math.isfinite(result.value) and result.n > 0
        assert (result.low if result.low is not None else -math.inf) <= result.value + 1e-12
        assert (result.high if result.high is not None else math.inf) >= result.value - 1e-12


@every_pair
def test_it_leaves_the_model_as_it_was_and_finds_the_same_twice(key, domain, attack_worlds):
    world, attack = attack_worlds(domain), in_small(key, domain)
    model, beside = world.open(), world.beside()
    weights = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    trained = [weight.requires_grad for weight in model.module.parameters()]
    modes = [part.training for part in model.module.modules()]
    state = torch.random.get_rng_state()
    found = attack.run(model, world.splits, UNLEARNED, beside)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.module.state_dict().items())
    assert [weight.requires_grad for weight in model.module.parameters()] == trained
    assert [part.training for part in model.module.modules()] == modes
    assert all(weight.grad is None for weight in model.module.parameters())
    check_results(type(attack), found, UNLEARNED)
    is_lacking = attack.name in world.lacking
    assert all(result.value is None for result in found) == is_lacking
    torch.rand(3)
    assert attack.run(world.open(), world.splits, UNLEARNED, world.beside()) == found


@every_pair
def test_its_control_is_its_results_on_the_oracles(key, domain, attack_worlds):
    world, attack = attack_worlds(domain), in_small(key, domain)
    check_results(type(attack), attack.control(world.splits, world.beside()), ORACLE)


@every_pair
def test_without_oracles_its_control_says_what_is_missing(key, domain, attack_worlds):
    world, attack = attack_worlds(domain), in_small(key, domain)
    beside = Beside(world.open, why_no_oracle="nobody has trained one")
    assert [(result.target, result.value, result.skipped) for result in attack.control(world.splits, beside)] == [
        (ORACLE, None, "no control: nobody has trained one")
    ]
