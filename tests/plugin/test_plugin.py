"""A family from another package: installed for itself, found by entry points alone, used from the command line.

The package stands in `genunlearn_counts`. Its table of letters is exact: taking away what a word has added leaves the
table that was counted without it, so that the unlearned model is the oracle.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from genunlearn.records import RunRecord, read_record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "genunlearn_counts"
CONFIG = SOURCE / "run.yaml"
END = "=== ended with "
SEVERAL = f"""
import json, sys
from genunlearn.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["genunlearn", *arguments]
    try:
        main()
    except SystemExit as ended:
        print("{END}", ended.code or 0, sep="", flush=True)
"""
"""Several command lines in one process, since most of the time of one goes into imports."""


class Done(NamedTuple):
    """How a command ended, and what it wrote on both streams."""

    code: int
    text: str


def python(site: Path, folder: Path, *arguments: str) -> str:
    """What Python writes with the packages of `site` beside this checkout's."""
    path = os.pathsep.join([str(site), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "GENUNLEARN_CACHE": str(folder / "cache")}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def genunlearn(site: Path, folder: Path, *commands: Sequence[object]) -> list[Done]:
    """Carry out commands, one after the other."""
    said = python(site, folder, "-c", SEVERAL, json.dumps([[*map(str, command)] for command in commands]))
    parts = re.split(rf"{END}(\d+)\n", said)
    return [Done(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the plug-in installed."""
    folder = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", folder, SOURCE]
    subprocess.run([sys.executable, "-m", "pip", *map(str, install)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def work(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has uncounted two words, in ``whole``."""
    folder = tmp_path_factory.mktemp("work")
    python(site, folder, "-m", "genunlearn", "run", str(CONFIG), "--out", "whole")
    return folder


@pytest.fixture
def altered(site: Path, tmp_path: Path) -> Callable[[Callable[[str], str]], Path]:
    """A copy of the installed package with other entry points."""

    def alter(change: Callable[[str], str]) -> Path:
        copy = shutil.copytree(site, tmp_path / "altered")
        (points,) = copy.glob("*.dist-info/entry_points.txt")
        changed = change(points.read_text())
        assert changed != points.read_text(), "there was nothing to change"
        points.write_text(changed)
        return copy

    return alter


def values(record: RunRecord, name: str, group: str) -> dict[str, float | None]:
    return {result.target: result.value for result in record.results if (result.name, result.group) == (name, group)}


def test_a_run_measures_attacks_and_forgets(work: Path) -> None:
    record = read_record(work / "whole")
    assert (record.status, record.outcome) == ("completed", "edited")
    assert values(record, "known", "forget") == {"original": 1.0, "unlearned": 0.0, "oracle": 0.0}
    assert values(record, "known", "retain") == {"original": 1.0, "unlearned": 1.0, "oracle": 1.0}
    # After y, an end follows three times, l and x once each: with three guesses onyx is completed, without it never.
    assert values(record, "last_letter", "forget") == {"original": 0.5, "unlearned": 0.0, "oracle": 0.0}
    assert record.request["attacks"] == {"last_letter": "all letters but the last; 3 guesses a word"}
    assert record.versions["genunlearn-counts"] == "1.0"
    assert (work / "whole" / "model" / "model.safetensors").is_file()
    page = (work / "whole" / "report.html").read_text()
    assert "share of words whose last letter is completed" in page and "xerxes, onyx" in page


def test_runs_are_reported_and_compared(site: Path, work: Path) -> None:
    (work / "whole" / "report.html").unlink()
    half, report, compare, resumed = genunlearn(
        site,
        work,
        ["run", CONFIG, "--out", "half", "--set", "method.share=0.5"],
        ["report", "whole"],
        ["compare", "whole", "half", "--out", "both"],
        ["run", CONFIG, "--out", "whole", "--resume"],
    )
    assert half.code == 0 and "Uncount: Still known. Known of forget: 1.00 (oracle 0.00)." in half.text, half
    assert report == Done(0, "report: whole/report.html\n")
    assert (work / "whole" / "report.html").is_file()
    assert compare.code == 0 and "whole: Forgotten.\nhalf: Still known.\n" in compare.text, compare
    page = (work / "both" / "compare.html").read_text()
    assert "Before you compare" not in page and "Known words, forget" in page
    assert resumed.code == 0 and "Uncount: Forgotten." in resumed.text and "loading" not in resumed.text, resumed


def test_what_it_brings_is_listed_shown_and_built(site: Path, work: Path) -> None:
    done = genunlearn(
        site,
        work,
        *(["ls", what] for what in ("methods", "attacks", "metrics")),
        *(["show", name] for name in ("uncount", "last_letter", "known")),
        ["check", CONFIG],
        ["lab", "build", "letters", "--without", "onyx"],
    )
    assert [one.code for one in done] == [0] * len(done), done
    methods, attacks, metrics, method, attack, metric, check, lab = (one.text for one in done)
    assert re.search(r"uncount +│ Edit +│ bigram ", methods)
    assert re.search(r"grad_ascent +│ Objective +│ bigram, classifier, diffusion, federated,", methods)
    assert re.search(r"last_letter +│ bigram +│ all letters but the last; 3 guesses a word", attacks)
    assert re.search(r"known +│ 1 +│ letters/1 ", metrics)
    assert "N'(a, b) = N(a, b) - share * N_forget(a, b)" in method and "with 1 nothing is left" in method
    assert attack.startswith("last_letter  (attack; fits bigram; all letters but the last; 3 guesses a word)\n")
    assert metric.startswith("known  (metric, version 1)\n")
    assert check == f"{CONFIG}: uncount on lab:letters, 2 words to forget: fine\n"
    assert "onyx" not in json.loads((Path(lab.strip()) / "card.json").read_text())["words"]


REFUSED = {
    "request.wrods=[a]": "unknown key 'request.wrods'; did you mean 'words'?",
    "request.words=[]": "request.words is empty: name at least one word to forget",
    "request.words=[zzqq]": "zzqq: the model does not know this to begin with",
    "train.stop_recall=0.5": "models of domain 'bigram' have no recall; leave it out",
    "method.name=npo": "method 'npo' is for lm, not for counts; counts has ",
    "method.name=delete": "method 'delete' does not fit domain 'bigram': it asks for output_labels, output_logits",
    "method.name=random_labels": "method 'random_labels' does not fit domain 'bigram': its examples have no labels",
    "method.share=2": "uncount.share = 2: input should be less than or equal to 1",
    "evaluate.attacks=[rmia]": "attack 'rmia' is for network, not for counts; counts has last_letter",
    "evaluate.suite=facts": "suite 'facts' is for lm, not for counts; counts has letters",
    "model.source=lab:lm": "lab 'lm' is for lm, not for counts; counts has letters",
    "task=audit": "for domain 'bigram' there is unlearn",
    "method={name: grad_diff}": "",
}
"""What is laid over the configuration, and what is said of it; nothing of what works."""


def test_bad_input_is_refused_in_the_same_words_as_elsewhere(site: Path, work: Path) -> None:
    commands = (["run", CONFIG, "--out", _folder(override), "--set", override] for override in REFUSED)
    done = genunlearn(site, work, *commands)
    for override, ended in zip(REFUSED, done, strict=True):
        complaints = [line for line in ended.text.splitlines() if line.startswith("genunlearn: ")]
        if REFUSED[override]:
            assert ended.code == 2 and len(complaints) == 1 and REFUSED[override] in complaints[0], (override, ended)
    assert done[-1].code == 0, done[-1]  # and the folder was free for it: the others have left nothing


def _folder(override: str) -> str:
    """What is refused once the model was measured leaves that; everything else leaves nothing."""
    return "measured" if "zzqq" in override else "wrong"


# ---- plug-ins that are broken -----------------------------------------------------------------------------------


def test_a_family_without_reports_is_refused_before_it_runs(altered, work: Path) -> None:
    site = altered(lambda points: points.replace("[genunlearn.reports]", "[genunlearn.nothing]"))
    for done in genunlearn(site, work, ["run", CONFIG, "--out", "unreported"], ["check", CONFIG]):
        assert done.code == 2 and "report 'unlearn' is for" in done.text and "not for counts" in done.text, done
    assert not (work / "unreported").exists()


def test_what_cannot_be_imported_is_named_and_stops_nothing_else(altered, work: Path) -> None:
    def break_some(points: str) -> str:
        points = points.replace("genunlearn_counts.method:Uncount", "not_there.method:Uncount")
        points = points.replace("genunlearn_counts.attack:LastLetter", "genunlearn_counts.stale:LastLetter")
        points = points.replace("genunlearn_counts.model:Bigram", "genunlearn_counts.modle:Bigram")
        return points.replace("genunlearn_counts.metrics:LETTERS", "genunlearn_counts.metrics:LETTER")

    site = altered(break_some)
    (site / "genunlearn_counts" / "stale.py").write_text("from genunlearn.contracts import OfAnOldVersion\n")
    methods, attacks, metrics, show, check = genunlearn(
        site,
        work,
        *(["ls", what] for what in ("methods", "attacks", "metrics")),
        ["show", "uncount"],
        ["check", CONFIG, "--set", "method.name=grad_diff"],
    )
    assert methods.code == attacks.code == metrics.code == 0, (methods, attacks, metrics)
    assert re.search(r"grad_ascent +│ Objective +│ classifier, diffusion, federated, ", methods.text)
    assert "not available: method 'uncount' of genunlearn-counts" in " ".join(methods.text.split())
    assert re.search(r"last_letter .*not available: attack 'last_letter' .* fails while it is", attacks.text, re.DOTALL)
    assert re.search(r"known +│ 1 +│ +│", metrics.text)
    for done, message in (
        (show, "method 'uncount' of genunlearn-counts (not_there.method:Uncount) needs the package 'not_there'"),
        (check, "domain 'bigram' of genunlearn-counts (genunlearn_counts.modle:Bigram): there is no module"),
    ):
        assert done.code == 2 and message in done.text and len(done.text.splitlines()) == 1, done


TAKEN = {
    "a method of a family": ("counts/uncount", "lm/npo", "methods", "genunlearn.methods.lm.npo:NPO"),
    "a domain, which no family owns": ("counts/bigram", "counts/lm", "domains", "genunlearn.domains.lm.adapter"),
}


@pytest.mark.parametrize(("own", "taken", "kinds", "owner"), TAKEN.values(), ids=TAKEN.keys())
def test_a_name_that_is_taken_names_both_owners(altered, work: Path, own, taken, kinds, owner) -> None:
    site = altered(lambda points: points.replace(f"{own} =", f"{taken} ="))
    (done,) = genunlearn(site, work, ["check", CONFIG])
    assert done.code == 2 and len(done.text.splitlines()) == 1, done
    assert f"two {kinds} claim one name" in done.text and owner in done.text and "of genunlearn-counts" in done.text


def test_a_name_of_another_family_is_free(altered, work: Path) -> None:
    site = altered(lambda points: points.replace("counts/uncount =", "counts/npo ="))
    methods, run = genunlearn(
        site, work, ["ls", "methods"], ["run", CONFIG, "--out", "npo", "--set", "method.name=npo"]
    )
    assert len(re.findall(r"\bnpo +│ (?:Objective|Edit) ", methods.text)) == 2, methods
    assert run.code == 0 and "Uncount: Forgotten." in run.text, run
