"""A federation as an application of Flower: `server` and `client`, for ``flwr run`` on real processes.

    flower-superlink --insecure
    flower-supernode --insecure --superlink 127.0.0.1:8000 --node-config "partition-id=0"     # one for each client
    flwr run scripts/flower_app

The run's configuration has the keys of the section ``federation``, ``seed``, ``forget`` (``client:0``; empty for none),
``alpha`` of ConDa and ``out``: there the server writes the network, what it remembers of the clients, and under
``unlearned`` the network without the clients that go. No client does anything for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genunlearn.config import build_section
from genunlearn.config.network import BackdoorConfig, FederationConfig
from genunlearn.data.network.clients import read_clients
from genunlearn.domains.network.federated.adapter import FederatedClassifier, state_of
from genunlearn.domains.network.federated.flower import (
    Context,
    Grid,
    Participant,
    ServerApp,
    client_app,
    partition_of,
    serve,
)
from genunlearn.domains.network.federated.server import Server
from genunlearn.errors import ConfigError
from genunlearn.lab.determinism import fixed_threads
from genunlearn.lab.network.federated import DIGITS_DATA, FederatedStudy, read_data
from genunlearn.methods.network.conda import ConDa

FIELDS = tuple(name for name in FederationConfig.model_fields if name != "engine")


def study_of(settings: Any) -> FederatedStudy:
    """The federation of a run's configuration."""
    given = {name: settings[name] for name in FIELDS if name in settings}
    return FederatedStudy(
        data=read_data(str(settings.get("data", DIGITS_DATA))),
        settings=build_section(FederationConfig, given, "run configuration"),
        backdoor=BackdoorConfig(trigger="none"),
        going=(),
        seed=int(settings.get("seed", 0)),
    )


def participant(context: Context) -> Participant:
    """Who a node is: the client of its ``partition-id``.

    Raises:
        ConfigError: There is no such client.
    """
    study, number = study_of(context.run_config), partition_of(context)
    if number not in study.shares:
        raise ConfigError(f"partition-id = {number}: the clients are 0 to {len(study.shares) - 1}")
    federation = study.federation()
    return Participant(number, FederatedClassifier(study.network(), federation=federation), federation.clients[number])


client = client_app(participant)
server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Teach, write down, and forget."""
    study, settings = study_of(context.run_config), context.run_config
    if not settings.get("out"):
        raise ConfigError("out is empty: name the folder that the server writes to")
    folder, federation = Path(str(settings["out"])), study.federation()
    folder.mkdir(parents=True, exist_ok=True)
    model = FederatedClassifier(study.network(), federation=federation)
    model.reinitialise(study.seed)
    plan = federation.plan(state_of(model), tuple(federation.clients), rounds=federation.rounds, seed=study.seed)
    recorder = Server(
        plan.start, since=("round_start",), keep_every=study.settings.keep_every, weighting=federation.weighting
    )
    with fixed_threads():
        model.network.load_state_dict(serve(grid, plan, recorder))
    model.save(folder)
    recorder.history.save(folder)
    if forget := str(settings.get("forget", "")):
        going = read_clients(forget, study.settings.clients)
        ConDa(alpha=float(settings.get("alpha", ConDa.alpha))).forget(model, recorder.history, going)
        model.save(folder / "unlearned")
