"""The rounds of a federation on Flower: a strategy that remembers who has moved what, and a client.

The same two parts run in Flower's simulation (`simulate`) and on its processes ``flower-superlink`` and
``flower-supernode``. Flower's telemetry and Ray's are switched off.

Source: Flower (Beutel et al., 2020), message API of 1.28 and later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.domains.network.federated.adapter import Plan, train_client, twin
from genunlearn.domains.network.federated.server import Reply, Server, State
from genunlearn.domains.network.fitting import FitConfig
from genunlearn.errors import ConfigError, NeedNotMet, RunError
from genunlearn.registry import require

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
require("flwr", "a federation on Flower")

# Telemetry has to be off before Flower loads. An application takes what it needs of Flower from here.
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict  # noqa: E402
from flwr.app import Context as Context  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid as Grid  # noqa: E402
from flwr.serverapp import ServerApp as ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402

CLIENT, EXAMPLES, ROUND = "client-id", "num-examples", "server-round"
"""Keys of Flower's records; the last two are its own."""
PARTITION = "partition-id"
"""Key of a node's configuration that holds the client's number."""
ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"


class ContributionRecorder(FedAvg):
    """FedAvg whose server remembers how far each client has moved each weight.

    A node's id is another one in each run, so nodes are asked who they are; clients that are not in the plan are left
    out of every round.
    """

    def __init__(self, server: Server, plan: Plan) -> None:
        """`server` averages and remembers; `plan` says who takes part."""
        super().__init__(fraction_evaluate=0.0)
        self._server, self._plan = server, plan
        self._before: State = {}
        self._nodes: dict[int, int] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The messages of a round, to the nodes of the plan's clients."""
        self._before = arrays.to_torch_state_dict()
        self._nodes = self._nodes or find_clients(grid, self._plan.clients)
        config[ROUND] = server_round
        content = RecordDict({ARRAYS: arrays, CONFIG: config})
        return [Message(content, node, MessageType.TRAIN) for node in self._nodes.values()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new weights, as every engine computes them, and Flower's mean of the metrics.

        Raises:
            RunError: A client has not answered, or reports a failure.
        """
        received = list(replies)
        failed = [message.error.reason or "no reason given" for message in received if message.has_error()]
        if failed or len(received) < len(self._nodes):
            said = failed[0].strip().splitlines()[-1] if failed else "no answer in time"
            missing = len(self._nodes) - len(received) + len(failed)
            raise RunError(
                f"round {server_round}: {missing} of {len(self._nodes)} clients have not trained ({said}): see to them "
                "and start again"
            )
        own = [reply_of(message) for message in received]
        _, metrics = super().aggregate_train(server_round, received)
        return ArrayRecord(dict(self._server.close(self._before, own))), metrics


def find_clients(grid: Grid, wanted: Sequence[int], timeout: float = 120.0) -> dict[int, int]:
    """The node of each client, once all are there.

    Raises:
        RunError: One does not turn up.
    """
    import time

    found: dict[int, int] = {}
    end = time.monotonic() + timeout
    while not set(wanted) <= found.keys() and time.monotonic() < end:
        strangers = [node for node in grid.get_node_ids() if node not in found.values()]
        asked = [Message(RecordDict(), node, MessageType.QUERY) for node in strangers]
        for message in grid.send_and_receive(asked, timeout=timeout) if asked else ():
            if message.has_content():
                found[_number(message.content[METRICS], CLIENT)] = message.metadata.src_node_id
        if not set(wanted) <= found.keys():
            time.sleep(0.5)
    if missing := sorted(set(wanted) - found.keys()):
        raise RunError(f"client {missing[0]} has not turned up in {timeout:g} s: start its node")
    return {client: found[client] for client in wanted}


def reply_of(message: Message) -> Reply:
    """What a client has sent, as tensors."""
    metrics: Any = message.content[METRICS]
    arrays: Any = message.content[ARRAYS]
    return Reply(_number(metrics, CLIENT), arrays.to_torch_state_dict(), _number(metrics, EXAMPLES))


@dataclass(frozen=True)
class Participant:
    """A client as it is on its own node: its number, the architecture, and its items."""

    client: int
    model: NetworkDomain
    items: Sequence[LabelledItem]


def client_app(participant: Callable[[Context], Participant]) -> ClientApp:
    """A client; `participant` says who it is from the context of its node, whose ``partition-id`` is a number."""
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        metrics = MetricRecord({CLIENT: participant(context).client})
        return Message(RecordDict({METRICS: metrics}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)  # the number of threads decides the order of float additions
        own, config = participant(context), message.content[CONFIG]
        arrays: Any = message.content[ARRAYS]
        sent, number = arrays.to_torch_state_dict(), _number(config, ROUND) - 1
        state = train_client(twin(own.model), own.items, sent, plan_of(config), number, own.client)
        metrics = MetricRecord({CLIENT: own.client, EXAMPLES: len(own.items)})
        return Message(RecordDict({ARRAYS: ArrayRecord(dict(state)), METRICS: metrics}), reply_to=message)

    return app


def partition_of(context: Context) -> int:
    """The ``partition-id`` of a node.

    Raises:
        ConfigError: It has none.
    """
    if PARTITION not in context.node_config:
        raise ConfigError(f"the node has no {PARTITION}: start it with --node-config '{PARTITION}=0'")
    return int(context.node_config[PARTITION])


def config_of(plan: Plan) -> ConfigRecord:
    """What a client has to know of a plan; keys that are None are left out, since records hold none."""
    known = {name: value for name, value in asdict(plan.local).items() if value is not None}
    return ConfigRecord({**known, "seed": plan.seed})


def plan_of(config: Any) -> Plan:
    """A plan as far as a client knows it."""
    fields: dict[str, Any] = {name: config.get(name) for name in FitConfig.__dataclass_fields__}
    return Plan(start={}, clients=(), rounds=0, local=FitConfig(**fields), seed=_number(config, "seed"))


def serve(grid: Grid, plan: Plan, server: Server) -> State:
    """The server's part of all rounds; returns the weights after the last one."""
    strategy = ContributionRecorder(server, plan)
    start = ArrayRecord(dict(plan.start))
    result = strategy.start(grid, start, num_rounds=plan.rounds, train_config=config_of(plan))
    return {name: tensor.clone() for name, tensor in result.arrays.to_torch_state_dict().items()}


def simulate(model: NetworkDomain, clients: Mapping[int, Sequence[LabelledItem]], plan: Plan, server: Server) -> State:
    """Carry rounds out in Flower's simulation, one node a client; arguments and result as `in_process`.

    Raises:
        NeedNotMet: Flower is installed without its simulation.
        RunError: A client has failed.
    """
    from flwr.simulation import run_simulation

    app, found = ServerApp(), dict[str, Any]()
    architecture, numbers = twin(model), sorted(clients)

    def participant(context: Context) -> Participant:
        client = numbers[partition_of(context)]
        return Participant(client, architecture, clients[client])

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            found["state"] = serve(grid, plan, server)
        except Exception as error:  # it is raised again below, out of Flower's thread
            found["error"] = error

    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        run_simulation(
            server_app=app,
            client_app=client_app(participant),
            num_supernodes=len(numbers),
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {
                    "num_cpus": min(len(plan.clients), os.cpu_count() or 1),
                    "include_dashboard": False,
                    "log_to_driver": False,
                    "logging_level": logging.ERROR,
                },
            },
        )
    except ImportError as error:
        raise NeedNotMet("Flower's simulation needs Ray: pip install 'flwr[simulation]'") from error
    if "error" in found:
        raise found["error"]
    if "state" not in found:
        raise RunError("Flower's simulation has ended without a result: FLWR_LOG_LEVEL=DEBUG says more")
    return found["state"]


def _number(record: Any, key: str) -> int:
    return int(record[key])
