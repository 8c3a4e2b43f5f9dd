"""Name tables: lazy, forgiving in spelling, strict about who owns a name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genunlearn import registry
from genunlearn.errors import MismatchError, NameNotFound, NeedNotMet
from genunlearn.registry import Line, Table, family_of, unknown_name

TABLES = [value for value in vars(registry).values() if isinstance(value, Table)]
LINES = [(table, line) for table in TABLES for line in table.lines()]


@pytest.fixture
def table() -> Table:
    return Table("method", {"": {"npo": "collections:OrderedDict", "grad_diff": "fractions:Fraction"}})


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Puts a distribution named `acme-forget` with one entry point on the path."""

    def install(group: str, line: str) -> None:
        info = tmp_path / "acme_forget-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-forget\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.mark.parametrize(("table", "line"), LINES, ids=[f"{t.kind}-{line.family}-{line.name}" for t, line in LINES])
def test_every_line_leads_somewhere(table: Table, line: Line) -> None:
    assert table.get(line.name, line.family) is not None


def test_names_are_sorted_and_counted(table: Table) -> None:
    assert table.names() == ("grad_diff", "npo")
    assert list(table) == ["grad_diff", "npo"]
    assert len(table) == 2


def test_get_returns_the_attribute_itself(table: Table) -> None:
    from fractions import Fraction

    assert table.get("grad_diff") is Fraction


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from genunlearn.registry import Table\n"
        "table = Table('method', {'': {'one': 'fractions:Fraction'}})\n"
        "assert 'one' in table and table.names() == ('one',) and table.line('one').target\n"
        "assert 'fractions' not in sys.modules, 'imported too early'\n"
        "table.get('one')\n"
        "print('fractions' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("spelling", ["grad_diff", "graddiff", "GradDiff", "grad-diff", "GRAD_DIFF"])
def test_spelling_is_forgiven_and_made_canonical(table: Table, spelling: str) -> None:
    assert spelling in table
    assert table.line(spelling).name == "grad_diff"


def test_unknown_name_shows_the_nearest_and_all(table: Table) -> None:
    with pytest.raises(NameNotFound) as caught:
        table.get("nppo")
    assert str(caught.value) == "unknown method 'nppo'; did you mean 'npo'? known: grad_diff, npo"
    assert isinstance(caught.value, KeyError)


def test_unknown_name_far_from_all_gives_no_hint() -> None:
    assert str(unknown_name("metric", "zzz", ["recall"])) == "unknown metric 'zzz'; known: recall"
    assert str(unknown_name("suite", "tofu", [])) == "unknown suite 'tofu'; known: none"


def test_register_adds_a_line(table: Table) -> None:
    table.register("mine", "decimal:Decimal")
    assert table.line("mine").owner == "decimal"
    assert table.get("mine").__name__ == "Decimal"


def test_the_same_line_twice_is_no_collision(table: Table) -> None:
    table.register("npo", "collections:OrderedDict", owner="someone")
    assert table.line("npo").owner == "genunlearn"


@pytest.mark.parametrize("name", ["npo", "NPO", "n-p-o"])
def test_a_taken_name_names_both_owners(table: Table, name: str) -> None:
    with pytest.raises(MismatchError) as caught:
        table.register(name, "acme.npo:NPO")
    message = str(caught.value)
    assert "'npo' of genunlearn (collections:OrderedDict)" in message
    assert f"{name!r} of acme (acme.npo:NPO)" in message
    assert table.line("npo").target == "collections:OrderedDict"


@pytest.mark.parametrize("target", ["acme.npo", "acme.npo:", ":NPO", ""])
def test_a_malformed_target_is_refused(table: Table, target: str) -> None:
    with pytest.raises(MismatchError, match="has to read 'module:attribute'"):
        table.register("mine", target)
    assert "mine" not in table


def test_an_attribute_that_is_not_there_names_the_line(table: Table) -> None:
    table.register("mine", "decimal:Desimal", owner="acme-forget")
    with pytest.raises(NameNotFound, match=r"of acme-forget \(decimal:Desimal\): decimal has no 'Desimal'"):
        table.get("mine")


def test_a_package_that_is_not_installed_is_named(table: Table) -> None:
    table.register("mine", "not_there.sub:Thing", owner="acme-forget")
    with pytest.raises(NeedNotMet, match="needs the package 'not_there', which is not installed"):
        table.get("mine")


def test_a_missing_module_of_this_package_is_a_defect_and_stays_visible() -> None:
    table = Table("method", {"": {"gone": "genunlearn.methods.gone:Gone"}})
    with pytest.raises(ModuleNotFoundError, match=r"genunlearn\.methods\.gone"):
        table.get("gone")


def test_a_module_that_is_not_there_names_the_line(table: Table) -> None:
    table.register("mine", "collections.gone:Thing", owner="acme-forget")
    with pytest.raises(
        NameNotFound, match=r"of acme-forget \(collections.gone:Thing\): there is no module collections"
    ):
        table.get("mine")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("from genunlearn.errors import Gone", "ImportError: cannot import name 'Gone'"),
        ("import genunlearn.gone", "ModuleNotFoundError: No module named 'genunlearn.gone'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_fails_while_it_is_imported_names_the_line(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    name = f"stale_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    table.register("mine", f"{name}:Thing", owner="acme-forget")
    with pytest.raises(MismatchError) as caught:
        table.get("mine")
    assert str(caught.value).startswith(f"method 'mine' of acme-forget ({name}:Thing) fails while it is imported")
    assert reason in str(caught.value) and "take a version of acme-forget that fits" in str(caught.value)


def test_plug_ins_are_read_on_first_use(plug_in, table: Table) -> None:
    plug_in("genunlearn.methods", "acme_method = decimal:Decimal")
    assert table.names() == ("acme_method", "grad_diff", "npo")
    assert table.line("acme_method").owner == "acme-forget"
    assert table.get("acme_method").__name__ == "Decimal"


def test_plug_ins_of_another_group_stay_out(plug_in, table: Table) -> None:
    plug_in("genunlearn.metrics", "acme_metric = decimal:Decimal")
    assert "acme_metric" not in table


def test_a_plug_in_cannot_take_a_name(plug_in, table: Table) -> None:
    plug_in("genunlearn.methods", "npo = decimal:Decimal")
    with pytest.raises(MismatchError) as caught:
        table.get("npo")
    assert "genunlearn (collections:OrderedDict)" in str(caught.value)
    assert "acme-forget (decimal:Decimal)" in str(caught.value)


# ---- families -------------------------------------------------------------------------------------------------


@pytest.fixture
def attacks() -> Table:
    return Table("attack", {"lm": {"relearning": "fractions:Fraction"}, "network": {"relearning": "decimal:Decimal"}})


def test_one_name_stands_for_one_thing_in_each_family(attacks: Table) -> None:
    from decimal import Decimal
    from fractions import Fraction

    assert (attacks.get("relearning", "lm"), attacks.get("relearning", "network")) == (Fraction, Decimal)
    assert attacks.names() == ("relearning",) and len(attacks) == 2
    with pytest.raises(MismatchError, match="attack 'relearning' is one of lm and network: say for which family"):
        attacks.get("relearning")


def test_of_many_names_the_nearest_are_offered(attacks: Table) -> None:
    for name in ("alpha", "beta", "gamma", "delta", "epsilon", "probes"):
        attacks.register(name, "math:pi", family="lm")
    attacks.register("probes_too", "math:pi", family="network")
    with pytest.raises(NameNotFound, match=r"; lm has probes, .* more \(genunlearn ls attacks\)$"):
        attacks.line("probes_too", "lm")


def test_a_name_of_another_family_is_refused_by_name(attacks: Table) -> None:
    attacks.register("probe", "math:pi", family="network")
    with pytest.raises(NameNotFound, match="attack 'probe' is for network, not for lm; lm has relearning"):
        attacks.get("probe", "lm")


def test_what_is_for_every_family_gives_way_to_a_familys_own(attacks: Table) -> None:
    import math

    attacks.register("probe", "math:pi")
    attacks.register("probe", "math:e", family="lm")
    assert (attacks.get("probe", "lm"), attacks.get("probe", "network")) == (math.e, math.pi)


def test_a_plug_in_says_its_family_before_a_stroke(plug_in: Callable[[str, str], None]) -> None:
    plug_in("genunlearn.attacks", "lm/mine = fractions:Fraction")
    assert [line.family for line in Table("attack", {}).lines()] == ["lm"]


@pytest.mark.parametrize("table", [registry.DOMAINS, registry.LABS], ids=["domains", "labs"])
def test_names_that_are_asked_for_without_a_family_are_taken_in_every_family(table: Table) -> None:
    line = table.lines()[0]
    with pytest.raises(MismatchError, match=f"two {table.kind}s claim one name: {line.name!r} of genunlearn"):
        table.register(line.name, "acme.other:Other", family="sound")
    assert table.line(line.name) == line


def test_owners_are_the_distributions_that_brought_something() -> None:
    assert registry.owners() == ("genunlearn",)


def test_every_domain_belongs_to_a_family() -> None:
    assert [family_of(name) for name in ("lm", "classifier", "regression")] == ["lm", "network", "network"]
    with pytest.raises(NameNotFound, match="unknown domain 'cartography'"):
        family_of("cartography")
