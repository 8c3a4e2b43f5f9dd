"""Flower as an engine: the same weights in its simulation and on its own processes, and clients that fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from genunlearn.domains.network.federated.adapter import FederatedClassifier, state_of
from genunlearn.domains.network.federated.server import History, Server
from genunlearn.errors import ConfigError, NeedNotMet, RunError
from tests.world import World

APP = Path(__file__).parents[3] / "scripts" / "flower_app"
pytest.importorskip("flwr", reason="needs the extra federated")


def teach(model: FederatedClassifier, engine: str) -> tuple[dict[str, torch.Tensor], History]:
    """Two rounds of clients 1 and 3 on an engine."""
    federation = replace(model.federation, engine=engine)  # type: ignore[arg-type]
    server = Server(state_of(model), since=("round_start",), keeps_last=True)
    federation.teach(model, federation.plan(state_of(model), (1, 3), rounds=2, seed=7), server)
    return state_of(model), server.history


@pytest.mark.slow
def test_the_simulation_gives_the_same_bits_and_remembers_the_same(worlds: Callable[[str], World]) -> None:
    pytest.importorskip("ray", reason="needs the extra federated")
    here, remembered = teach(worlds("federated").open(), "in_process")
    there, told = teach(worlds("federated").open(), "flower")
    assert all(torch.equal(there[name], tensor) for name, tensor in here.items())
    assert told.moved["round_start"].keys() == told.last.keys() == {1, 3}
    for client, own in remembered.moved["round_start"].items():
        assert all(torch.equal(told.moved["round_start"][client][name], tensor) for name, tensor in own.items())
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"


def test_a_client_that_fails_ends_the_round_with_its_reason(worlds: Callable[[str], World]) -> None:
    from genunlearn.domains.network.federated.flower import ContributionRecorder

    model: FederatedClassifier = worlds("federated").open()
    plan = model.federation.plan(state_of(model), (1, 3), rounds=1, seed=0)
    strategy = ContributionRecorder(Server(plan.start), plan)
    strategy._nodes = {1: 11, 3: 33}
    error = SimpleNamespace(reason="Traceback\nValueError: no such file")
    failed: Any = SimpleNamespace(has_error=lambda: True, error=error)
    with pytest.raises(
        RunError, match=r"^round 4: 2 of 2 clients have not trained \(ValueError: no such file\): see to"
    ):
        strategy.aggregate_train(4, iter([failed]))
    with pytest.raises(RunError, match=r"^round 4: 2 of 2 clients have not trained \(no answer in time\): see to them"):
        strategy.aggregate_train(4, iter([]))


def test_a_client_that_does_not_turn_up_is_named() -> None:
    from genunlearn.domains.network.federated.flower import find_clients

    class Empty:
        def get_node_ids(self) -> list[int]:
            return []

    with pytest.raises(RunError, match=r"^client 2 has not turned up in 0.01 s: start its node$"):
        find_clients(Empty(), (2, 5), timeout=0.01)  # type: ignore[arg-type]


def test_a_plan_comes_back_from_a_record(worlds: Callable[[str], World]) -> None:
    from genunlearn.domains.network.federated.flower import config_of, plan_of

    federation = worlds("federated").open().federation
    plan = federation.plan({}, (1,), rounds=1, seed=9, epochs=5)
    assert (plan_of(config_of(plan)).local, plan_of(config_of(plan)).seed) == (plan.local, 9)
    assert plan.local.warm_share is None and plan.local.epochs == 5


def test_a_node_must_say_which_client_it_is() -> None:
    from flwr.app import Context, RecordDict

    from genunlearn.domains.network.federated.flower import partition_of
    from genunlearn.runs.network.federated.app import participant

    def context(**node: int) -> Context:
        return Context(run_id=0, node_id=0, node_config=dict(node), state=RecordDict(), run_config={"clients": 3})

    assert partition_of(context(**{"partition-id": 2})) == 2
    with pytest.raises(
        ConfigError, match=r"^the node has no partition-id: start it with --node-config 'partition-id=0'$"
    ):
        partition_of(context())
    with pytest.raises(ConfigError, match=r"^partition-id = 3: the clients are 0 to 2$"):
        participant(context(**{"partition-id": 3}))
    assert participant(context(**{"partition-id": 2})).client == 2


def test_without_flower_the_engine_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from genunlearn.registry import require

    monkeypatch.setitem(sys.modules, "flwr", None)
    with pytest.raises(
        NeedNotMet, match=r"needs the package 'flwr', which is not installed: pip install 'genunlearn\[fed"
    ):
        require("flwr", "federation.engine = 'flower'")


def test_nothing_but_the_engine_loads_flower() -> None:
    code = (
        "import sys, genunlearn, genunlearn.runs.network.federated.family, genunlearn.methods.network.conda\n"
        "print({'flwr', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


# ---- real processes ---------------------------------------------------------------------------------------------

PATIENCE = 240.0
"""Seconds that a deployment may take on a busy machine; it is done in some 40."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens at.

    Raises:
        OSError: This machine has no loopback address to listen at.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Deployment:
    """A superlink and supernodes as processes of their own, which end with the test whatever happens."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder, self.ports = folder, ports
        self.processes: list[subprocess.Popen[bytes]] = []
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.environment = os.environ | {
            "FLWR_HOME": str(folder / "home"), "FLWR_TELEMETRY_ENABLED": "0", "PYTHONPATH": path, "PATH": beside,
        }  # fmt: skip
        (folder / "home").mkdir()
        (folder / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{ports[0]}"\ninsecure = true\n'
        )

    def start(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{len(self.processes)}-{name}.log").open("wb")
        command = [str(Path(sys.executable).parent / name), *arguments]
        self.processes.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        )

    def stop(self) -> None:
        """End every process with the ones that it has started."""
        import signal

        for sent, wait in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            for process in reversed(self.processes):
                try:
                    os.killpg(process.pid, sent)
                except ProcessLookupError:
                    continue
            end = time.monotonic() + wait
            for process in self.processes:
                try:
                    process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue

    def logs(self) -> str:
        return "\n".join(
            f"{p.name}: {p.read_text(errors='replace')[-1500:]}" for p in sorted(self.folder.glob("*.log"))
        )


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    try:
        ports = free_ports(3)
    except OSError as error:
        pytest.skip(f"this machine has no loopback address to listen at: {error}")
    made = Deployment(tmp_path, ports)
    try:
        yield made
    finally:
        made.stop()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, "it has ended before it listened"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("nobody listens")


@pytest.mark.slow
def test_the_application_runs_on_a_superlink_and_two_supernodes(deployment: Deployment, tmp_path: Path) -> None:
    from genunlearn.lab.network.study import fixed_threads
    from genunlearn.methods.network.conda import ConDa
    from genunlearn.runs.network.federated.app import study_of

    link, *nodes = deployment.ports
    deployment.start("flower-superlink", "--insecure", "--disable-runtime-dependency-installation", "--port", str(link))
    wait_for(link, deployment.processes[0])
    for number, port in enumerate(nodes):
        place = f"partition-id={number}"
        deployment.start(
            "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port),
            "--node-config", place,
        )  # fmt: skip
    out = tmp_path / "out"
    run = subprocess.run(
        [Path(sys.executable).parent / "flwr", "run", APP, "here", "--stream", "--run-config", f'rounds=1 out="{out}"'],
        env=deployment.environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == 0 and (out / "unlearned").is_dir(), f"{run.stdout[-2000:]}\n{deployment.logs()}"

    study = study_of({"clients": 2, "rounds": 1, "epochs": 1})
    here = FederatedClassifier(study.network(), federation=study.federation())
    here.reinitialise(0)
    server = Server(state_of(here), since=("round_start",))
    with fixed_threads():
        here.federation.teach(here, here.federation.plan(state_of(here), (0, 1), rounds=1, seed=0), server)
    there = FederatedClassifier(study.network(), federation=study.federation())
    there.load_weights(out)
    assert all(torch.equal(state_of(there)[name], tensor) for name, tensor in state_of(here).items())
    ConDa(alpha=0.8).forget(here, History.load(out), (0,))
    there.load_weights(out / "unlearned")
    assert all(torch.equal(state_of(there)[name], tensor) for name, tensor in state_of(here).items())
