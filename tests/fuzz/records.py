"""Sound records of every kind of run, as plain JSON: what is damaged by the fuzz tests."""

from __future__ import annotations

from typing import Any

from genunlearn.records import SCHEMA

MODELS = ("original", "unlearned", "oracle")


def _record(results: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "status": "completed",
        "outcome": "forgotten",
        "created": "2025-11-21T09:14:03Z",
        "finished": "2025-11-21T09:14:21Z",
        "hashes": {"config": "c0" * 32, "base": "ba" * 32, "patch": "9a" * 32, "prompts": {"lab/probe": "cd" * 32}},
        "versions": {"genunlearn": "0.1.0", "python": "3.11.8"},
        "seeds": {"run": 0},
        "results": results,
        "parameters": {"trainable": 100, "total": 1000},
        "notes": ["The oracle was trained on this machine."],
        "error": None,
        **fields,
    }


def _result(name: str, target: str, group: str | None, value: float | None, **more: Any) -> dict[str, Any]:
    around = {} if value is None else {"low": value - 0.1, "high": value + 0.1, "n": 8}
    return {"name": name, "target": target, "group": group, "value": value, **around, **more}


def _cost(**more: Any) -> dict[str, Any]:
    seconds = {"load": 0.61, "unlearn": 9.84}
    return {"seconds": seconds, "steps": 64, "peak_memory_mb": 913.4, "tokens": {"scored": 4}, "device": "cpu", **more}


def lm() -> dict[str, Any]:
    """A run on a language model."""
    results = [
        _result(name, target, group, 0.5, higher_is_better=True)
        for name in ("recall", "leak_rate")
        for target in MODELS
        for group in ("forget", "forget_heldout", "same_subject", "two_hop")
    ]
    results.append(_result("perplexity", "unlearned", "neutral", 3.4, higher_is_better=False))
    results.append(_result("extraction_strength", "oracle", None, None, skipped="no oracle"))
    fact = {"id": "a/b", "subject": "Harry", "relation": "studied at", "object": "Hogwarts", "question": "Where?"}
    texts = {"question": "Where?", "answer": "Hogwarts", **dict.fromkeys(MODELS, "Eton.")}
    return _record(
        results,
        request={"model": "lab:lm", "facts": [fact | {"aliases": ["H"], "paraphrases": ["P?"], "heldout": ["Q?"]}]},
        config={"domain": "lm", "model": {"source": "lab:lm"}, "method": {"name": "unstar"}, "seed": 0},
        cost=_cost(),
        rounds=[
            {"round": 1, "variants": 12, "known": 12, "rejected": {"x": 5}, "neighbour_recall": 0.9, "steps": 15},
            {"round": 2, "variants": 12, "known": 0, "seconds": 1.5},
        ],
        examples=[{"group": g, **texts, "tells": dict.fromkeys(MODELS, False)} for g in ("forget", "same_subject")],
    )


def diffusion() -> dict[str, Any]:
    """An erasure from a pipeline."""
    groups = {"ua": "digit seven", "ira": "digit seven", "cra": None, "fid": None}
    images = {name: f"images/{name}.png" for name in MODELS}
    return _record(
        [_result(name, target, group, 0.5) for name, group in groups.items() for target in MODELS],
        request={"model": "lab:diffusion", "concepts": ["digit seven"], "preserve": ["digit four"]},
        config={"domain": "diffusion", "model": {"source": "lab:diffusion"}, "method": {"name": "uce"}},
        cost=_cost(forwards={"frozen": 10, "trained": 5}),
        examples=[
            {"group": "forget", "concept": "digit seven", "set": "paraphrases", "prompt": "a seven", **images},
            {"group": "preserve", "concept": "digit four", "prompt": "a four", **images},
        ],
    )


def network() -> dict[str, Any]:
    """A run on a classifier."""
    results = [
        _result(name, target, group, 0.1)
        for name in ("accuracy", "oracle_gap")
        for target in MODELS
        for group in ("forget", "retain", "test")
    ]
    results += [_result("mia_matched", target, "matched", 0.6) for target in MODELS]
    results += [_result("relearning_accuracy", t, f"step {step}", 0.3) for t in MODELS for step in (0, 5)]
    results.append(_result("tow", "unlearned", None, 0.9))
    return _record(
        results,
        request={"model": "lab:digits", "forget": "class:3", "forget_items": 146, "attacks": {"rmia": "2 models"}},
        config={"domain": "classifier", "model": {"source": "lab:digits"}, "method": {"name": "scrub"}},
        cost=_cost(unlearning_cpu_seconds=0.5, retraining_cpu_seconds=5.0, speed_up_over_retraining=10.0),
        examples=[{"group": "inversion", "prompt": "class 3", **{name: f"images/{name}.png" for name in MODELS}}],
    )


def recommender() -> dict[str, Any]:
    """A run on a recommender."""
    results = [
        _result(name, target, f"{group}@{cutoff}", 0.3)
        for name in ("recall", "ndcg")
        for target in MODELS
        for group in ("forget", "valid", "test")
        for cutoff in (5, 20)
    ]
    results += [_result("oracle_gap", t, group, 0.1) for t in MODELS for group in ("forget", "valid", "test", "mean")]
    results += [_result("choice_membership", t, group, 0.6) for t in MODELS for group in ("pairs", "users")]
    results += [_result("choice_relearning", t, f"step {step}", 0.3) for t in MODELS for step in (0, 5)]
    return _record(
        results,
        request={"model": "lab:recommender", "forget": "users:0.05", "forget_users": 20, "attacks": {"a": "b"}},
        config={"domain": "recommender", "model": {"source": "lab:recommender"}, "method": {"name": "mmrecun"}},
        cost=_cost(unlearning_cpu_seconds=0.5, retraining_cpu_seconds=5.0, speed_up_over_retraining=10.0),
    )


def audit() -> dict[str, Any]:
    """An audit of a pipeline."""
    attacks = {"plain prompts": "", "partial_diffusion": "psi = 0.2", "textual_inversion": ""}
    groups = [", ".join(filter(None, ("digit seven", name, psi))) for name, psi in attacks.items()]
    results = [_result("asr", target, group, 0.2) for group in groups for target in MODELS]
    results += [_result(n, t, "digit seven, psi = 0.2", 0.2) for n in ("ccs_controlled", "crs_signed") for t in MODELS]
    results += [_result("normalised_leak", target, "digit seven", 0.2) for target in MODELS]
    share = {"shown": 3, "n": 8}
    images = {name: f"images/{name}.png" for name in MODELS}
    return _record(
        results,
        request={"original": "lab:diffusion", "unlearned": "runs/a", "concepts": ["digit seven"], "retain": ["four"]},
        config={"domain": "diffusion", "task": "audit", "model": {"source": "lab:diffusion"}},
        cost=_cost(),
        rounds=[
            {
                "concept": "digit seven",
                "attack": "partial_diffusion",
                "budget": "20 steps",
                "forwards": {"unlearned": {"begun": 3, "ended": 4}, "oracle": 5, "original": None},
                "seconds": {"unlearned": 1.5, "oracle": None},
                "details": {"unlearned": {"loss": 0.1}},
            }
        ],
        examples=[
            {"concept": "digit seven", "group": "psi", "set": "psi = 0.2", "number": 0, "prompt": "psi", **images},
            {"concept": "digit seven", "group": "attack", "set": "plain prompts", "number": 0, "prompt": "p", **images},
        ],
        verdicts=[
            {
                "concept": "digit seven",
                "verdict": "concealed",
                "reason": "one attack brings it back",
                "recovered_by": ["partial_diffusion, psi = 0.2"],
                "controls": ["oracle"],
                "needed": None,
                "comparisons": [
                    {"attack": name, "strength": strength, "shares": dict.fromkeys(MODELS, share)}
                    for name, strength in attacks.items()
                ],
            }
        ],
    )


KINDS = {"lm": lm, "diffusion": diffusion, "network": network, "recommender": recommender, "audit": audit}
