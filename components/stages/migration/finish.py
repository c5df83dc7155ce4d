"""The end of a migration: what was trained for the next base becomes the workspace's results.

First params.yaml gets the next base as `base`; then the results in var/next-base/ replace those in out/ of the tenants
that have moved. Can be repeated after a kill.
"""

from components.errors import ConfigError, DataError
from components.registry.mlflow.versions import CHAMPION
from components.stages.base import BASE_FILE, read_base_facts
from components.stages.next_base_view import RESULTS_FOLDER, find_moved
from components.stages.progress import join_abbreviated, log_info
from components.stages.stamps import read_json
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree

_STAGES = ("train", "evaluate", "gate")


def finish_migration(workspace: Workspace) -> list[str]:
    """Take the results of the tenants that have moved into out/; return these tenants. The caller holds the lock.

    Raises:
        ConfigError: params.yaml still has `next_base`, or another base than the one of the results.
        DataError: there are no results of a migration.
        RegistryError: MLflow does not answer.
        WorkspaceError: the disk is full.
    """
    folder = workspace.root / "var" / RESULTS_FOLDER
    facts = read_json(folder / "base" / BASE_FILE)
    if not isinstance(facts, dict):
        raise DataError("results of a migration", f"none in {folder}", "run `prefixfleet migrate` first")
    if workspace.params.next_base is not None:
        raise _explain_params(workspace, facts)
    digest = read_base_facts(workspace)["digest"]
    if digest != facts["digest"]:
        got = f"base {workspace.params.base.path} with digest {digest[:12]}, results for {facts['digest'][:12]}"
        raise ConfigError(
            "the base in params.yaml that the fleet has moved to", got, f"set base.path to {facts['path']}"
        )
    moved = find_moved(workspace.registry.poll_aliased(CHAMPION)[CHAMPION], digest)
    with convert_disk_errors(f"move the results in {folder}"):
        for tenant in sorted(moved):
            for stage in _STAGES:
                source, target = folder / stage / tenant, workspace.get_output_folder(stage, tenant)
                if source.is_dir():
                    remove_tree(target)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source.rename(target)
        remove_tree(folder)
        remove_tree(workspace.tokens)  # of the former tokenizer
    log_info(f"{len(moved)} tenants are on base {digest[:12]}; their results are in out/")
    return sorted(moved)


def _explain_params(workspace: Workspace, facts: dict[str, str]) -> ConfigError:
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    unmoved = sorted(champions.keys() - find_moved(champions, facts["digest"]))
    what = f"{len(unmoved)} tenants have not moved ({join_abbreviated(unmoved)}); " if unmoved else "all have moved; "
    fix = (
        f"{what}if the fleet is to stay on the next base, set base to {facts['path']!r} (with its revision, dtype and "
        "train values), remove next_base, and run this again: `retrain` then trains the others on that base too"
    )
    return ConfigError("params.yaml without next_base at the end of a migration", "next_base", fix)
