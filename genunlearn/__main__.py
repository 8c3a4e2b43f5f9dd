"""``python -m genunlearn``: the command line, also under ``accelerate launch -m`` and ``torchrun -m``."""

from genunlearn.cli import main

if __name__ == "__main__":
    main()
