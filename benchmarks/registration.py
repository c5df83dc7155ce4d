"""Seconds to register 100 tenants in an SQLite store, compared with plain `mlflow.pyfunc.log_model` for a few.

    python benchmarks/registration.py [--tenants 100] [--plain 3] [--server http://host:5000]

PrefixFleet writes a run with parameters, metrics and a 40-point loss curve, a version, tags and the champion alias.
Plain MLflow logs and registers a pickled Python model that uses torch and transformers, with MLflow's inference of its
requirements; its time for 100 tenants is extrapolated from the few. The creation of MLflow's tables is not measured.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from components.config import RegistryConfig
from components.model.prefix.prefix import Prefix, make_tensor_name
from components.registry.artifact import save_artifact
from components.registry.mlflow.quiet import quiet_mlflow
from components.registry.registry import Registration, Registry, RunLog, Version

LAYERS, HEADS, LENGTH, HEAD_DIM = 6, 4, 8, 32


def main() -> None:
    """Time both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--plain", type=int, default=3, help="number of tenants registered with plain MLflow")
    parser.add_argument("--server", help="an MLflow server instead of SQLite")
    chosen = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder, quiet_mlflow():
        config = RegistryConfig(tracking_uri=chosen.server or "sqlite:///mlflow.db")
        registry = Registry(config, Path(folder))
        registry.find_champions()
        ours, cpu = _time_prefixfleet(registry, Path(folder), chosen.tenants)
        started = time.perf_counter()
        champions = len(registry.find_champions())
        reading = time.perf_counter() - started
        plain = _time_plain_mlflow(registry.uri, chosen.plain)
    print(f"load average                       {os.getloadavg()[0]:8.1f} on {os.cpu_count()} cores")
    each = f"{ours / chosen.tenants:.3f} s per tenant, {cpu:.1f} s of CPU in all"
    print(f"register {chosen.tenants:4d} tenants, PrefixFleet  {ours:8.1f} s  ({each})")
    print(f"read {champions:4d} champions               {reading:8.2f} s")
    if plain:
        extrapolated = plain * chosen.tenants
        measured = f"{plain * chosen.plain:8.1f} s  ({plain:.3f} s per tenant)"
        print(f"plain log_model, {chosen.plain:3d} tenants       {measured}")
        print(f"plain log_model, {chosen.tenants:3d} tenants       {extrapolated:8.1f} s  (extrapolated)")


def _time_prefixfleet(registry: Registry, folder: Path, tenants: int) -> tuple[float, float]:
    """Return wall seconds and processor seconds."""
    registrations = []
    curve = [(step, 1 / (step + 1)) for step in range(0, 400, 10)]
    for number in range(tenants):
        tenant, digest = f"bench-{number:04d}", f"{number:064x}"
        size = (HEADS, LENGTH, HEAD_DIM)
        names = [make_tensor_name(layer, kind) for layer in range(LAYERS) for kind in ("key", "value")]
        save_artifact(
            folder / tenant,
            Prefix({name: torch.randn(size) for name in names}),
            tenant=tenant,
            base_name="base",
            base_digest="b" * 64,
            tokenizer_digest="c" * 64,
            dataset_version="d" * 32,
            data_digest=digest,
            train={"prefix_length": LENGTH},
            fingerprint=digest,
        )
        run = RunLog(
            params={"train": {"prefix_length": LENGTH, "learning_rate": 0.02, "max_steps": 400}},
            metrics={"bleu": 60.0, "rougeL": 0.7, "chrf": 70.0, "ter": 30.0},
            curves={"train_loss": curve, "validation_loss": curve[::5]},
            dataset_version="d" * 32,
        )
        tags = {"verdict": "accepted"}
        registrations.append(
            Registration(
                tenant=tenant, artifact=folder / tenant, base_path="base", tags=tags, run_log=run, alias="champion"
            )
        )
    started, cpu_started = time.perf_counter(), time.process_time()
    results = registry.register_all(registrations)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    for result in results.values():
        if not isinstance(result, Version):
            raise result
    return seconds, cpu


def _time_plain_mlflow(uri: str, tenants: int) -> float:
    """Return seconds per tenant."""
    import mlflow
    from mlflow.pyfunc import PythonModel

    class PlainModel(PythonModel):  # type: ignore[misc]
        def predict(self, model_input: list[str]) -> list[str]:
            import transformers

            return [f"{text} {transformers.__version__} {torch.__version__}" for text in model_input]

    if not tenants:
        return 0.0
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("plain")
    started = time.perf_counter()
    for number in range(tenants):
        with mlflow.start_run():
            name = f"plain-{number}"
            mlflow.pyfunc.log_model(
                name=name,
                python_model=PlainModel(),
                input_example=["a"],
                registered_model_name=name,
                await_registration_for=None,
            )
    return (time.perf_counter() - started) / tenants


if __name__ == "__main__":
    main()
