"""The small labs, for tests that carry a method out."""

from collections.abc import Callable

import pytest

from genunlearn.lab.cache import CACHE_VARIABLE
from genunlearn.lab.network import digits
from genunlearn.lab.network.study import Lab, Study, open_lab


@pytest.fixture(scope="session")
def open_study(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Lab]:
    """Opens a lab without oracles; its network is taught once a session and read anew each time."""
    folder = tmp_path_factory.mktemp("labs")

    def open_(study: Study = digits.DIGITS, request: str = "class:3") -> Lab:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(CACHE_VARIABLE, str(folder))
            return open_lab(study, request, num_oracles=0)

    return open_
