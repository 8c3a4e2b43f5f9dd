"""Everything that opens a model, and everything that could run code out of a file, read from the source.

``from_pretrained`` is called in `genunlearn.domains.pretrained` and nowhere else; pickles are opened nowhere at all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "genunlearn"
THE_PLACE = Path("domains/pretrained.py")

OPENS = {"from_pretrained", "from_single_file", "download"}
"""Methods that open a stranger's model; ``download`` is that of pipelines."""
RUNS = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package", "torch.export.load"),
    *("eval", "exec", "compile", "__import__", "runpy.run_path"),
}
"""Calls that run, or may run, what a file says."""
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "imp", "runpy"}
"""Modules that are not imported."""
NEEDS = {
    "np.load": "allow_pickle",
    "numpy.load": "allow_pickle",
    "load_lora_weights": "use_safetensors",
    "snapshot_download": "allow_patterns",
}
"""Calls with the argument that makes them safe."""
FORBIDDEN = {"trust_remote_code": True, "weights_only": False, "allow_pickle": True, "use_safetensors": False}
"""Arguments and the value that they must not have; what may have it counts as having it."""
OWN = {"ClipScorer"}
"""Classes of the package whose ``from_pretrained`` is their own, and goes through `THE_PLACE`."""


def faults(tree: ast.AST, place: Path) -> Iterator[str]:
    """What in a module of the package opens or runs what it must not."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{place}:{line} imports {name}" for name in names if name.partition(".")[0] in PICKLES)
        elif isinstance(node, ast.Attribute) and node.attr in OPENS and place != THE_PLACE:
            if ast.unparse(node.value) not in OWN:
                yield f"{place}:{line} uses {ast.unparse(node)}: go through genunlearn.domains.pretrained"
        elif isinstance(node, ast.Constant) and node.value in OPENS:
            yield f"{place}:{line} names {node.value!r}: call it plainly, so that it can be found"
        elif isinstance(node, ast.Call):
            yield from (f"{place}:{line} {fault}" for fault in _call_faults(node))


def _call_faults(call: ast.Call) -> Iterator[str]:
    name, given = ast.unparse(call.func), {keyword.arg: keyword.value for keyword in call.keywords}
    if name in RUNS:
        yield f"calls {name}"
    for key, value in FORBIDDEN.items():
        if key in given and not (isinstance(given[key], ast.Constant) and given[key].value is not value):
            yield f"calls {name} with {key} = {ast.unparse(given[key])}"
    for ending, key in NEEDS.items():
        if (name == ending or name.endswith(f".{ending}")) and key not in given:
            yield f"calls {name} without {key}"


def test_models_are_opened_in_one_place_and_pickles_nowhere() -> None:
    found = [
        fault
        for path in sorted(ROOT.rglob("*.py"))
        for fault in faults(ast.parse(path.read_text()), path.relative_to(ROOT))
    ]
    assert found == []


def test_the_one_place_trusts_no_code() -> None:
    tree = ast.parse((ROOT / THE_PLACE).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    opening = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in OPENS]
    assert len(opening) == 3
    for call in opening:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        # peft takes no such argument: it reads tensors into a network that is there already.
        assert given.get("trust_remote_code") == "False" or ast.unparse(call.func) == "PeftModel.from_pretrained"


BREACHES = {
    "a model": "AutoModel.from_pretrained(folder)",
    "a model, by another name": "load = AutoModel.from_pretrained",
    "a model, by its word": 'getattr(AutoModel, "from_pretrained")(folder)',
    "a single file": "StableDiffusionPipeline.from_single_file(path)",
    "torch's pickle": "torch.load(path)",
    "a pickle": "import pickle",
    "a pickle's functions": "from dill import loads",
    "an array": "np.load(path)",
    "an array of objects": "np.load(path, allow_pickle=True)",
    "an array, perhaps of objects": "np.load(path, allow_pickle=allowed)",
    "a LoRA as a pickle": "pipeline.load_lora_weights(folder)",
    "everything of a hub's folder": "snapshot_download(source)",
    "trust": "load(folder, trust_remote_code=True)",
    "trust, perhaps": "load(folder, trust_remote_code=config.trust)",
    "code": "exec(text)",
}


@pytest.mark.parametrize("text", BREACHES.values(), ids=BREACHES.keys())
def test_a_breach_is_seen(text: str) -> None:
    assert len(list(faults(ast.parse(text), Path("evaluation/judge.py")))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "read_model(AutoModel, folder, 'a model')",
        "ClipScorer.from_pretrained(source)",
        "np.load(path, allow_pickle=False)",
        "re.compile(pattern)",
        "model.eval()",
        "pipeline.load_lora_weights(folder, use_safetensors=True)",
        "load(folder, trust_remote_code=False)",
    ],
)
def test_what_is_permitted_is_no_breach(text: str) -> None:
    assert list(faults(ast.parse(text), Path("evaluation/judge.py"))) == []
