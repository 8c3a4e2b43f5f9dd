#!/usr/bin/env python
"""One run in the shape of each seed paper's table, ours beside the published numbers.

    python scripts/bench/fidelity.py --mnist mnist.npz          # some 75 minutes on one core, 50 of them gkt on MNIST
    python scripts/bench/fidelity.py --parts unsir course       # some of the papers
    python scripts/bench/fidelity.py --write docs/fidelity.md   # and put the tables there

The published numbers are those of the authors' own notebooks, on larger networks and data; ours come from the labs of
this package, or from MNIST, so that anybody can make them again. What is to be compared is the shape: what rises, what
falls, and how far from the oracle. Ours are means over seeds with 95% t-intervals, cut at 0 and 100 for shares.
MNIST is a file with `x_train`, `y_train`, `x_test`, `y_test`; GENUNLEARN_MNIST may name it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from markdown_blocks import replace_block
from seed_papers import bad_teaching, blindspot, course, gkt, unsir


def main() -> None:
    """Run the chosen parts, print their tables, put them into a document."""
    known = os.environ.get("GENUNLEARN_MNIST")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, default=Path(known) if known else None, help="file mnist.npz")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of originals and methods, for all parts but gkt")
    parser.add_argument("--gkt-seeds", type=int, default=3, help="seeds of gkt: 4 minutes each, 17 on MNIST")
    parser.add_argument("--parts", nargs="+", help="some of them, by name; by default all")
    parser.add_argument("--write", type=Path, help="Markdown document that gets the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], str]] = {
        "bad_teaching": lambda: bad_teaching.run(arguments.seeds),
        "unsir": lambda: unsir.run(arguments.seeds),
        "blindspot": lambda: blindspot.run(arguments.seeds),
        "course": lambda: course.run(arguments.seeds),
        "gkt_digits": lambda: gkt.run_digits(arguments.gkt_seeds),
        "gkt_mnist": lambda: gkt.run_mnist(arguments.gkt_seeds, arguments.mnist),
    }
    for name in arguments.parts or parts:
        if name not in parts:
            parser.error(f"no part {name!r}: there are {', '.join(parts)}")
        start = time.process_time()
        text = parts[name]()
        print(f"\n{name}, {time.process_time() - start:.0f} s of CPU\n\n{text}", flush=True)
        if arguments.write:
            replace_block(arguments.write, name, text)


if __name__ == "__main__":
    main()
