"""What a fine-tuning job will take, before it begins. Reads the workspace's parameters as they are now."""

from collections.abc import Mapping
from typing import Any

from components.config import PARAMS_FILE, load_params, load_workspace_params
from components.fine_tuning.train_values import make_train_values
from components.rollout.store.uploaded_files import UploadedFile
from components.stages.plan import PlanItem
from components.stages.sharding.cost import SplitSize, measure_train_split
from components.stages.sharding.training_estimates import estimate_with_new_data
from components.stages.workspace import Workspace


def estimate_job(workspace: Workspace, tenant: str, request: Mapping[str, Any], file: UploadedFile) -> dict[str, Any]:
    """Return the tokens, device seconds and cost of a job with this training file, as `prefixfleet plan --cost` does.

    Raises:
        ConfigError: the parameters cannot be read.
    """
    present = load_workspace_params(workspace.root).for_tenant(tenant).train
    default = load_params(workspace.root / PARAMS_FILE).for_tenant(tenant).train
    added = SplitSize(file.examples, file.size_bytes)
    lines = measure_train_split(workspace, tenant).add(added).examples
    train = present.model_copy(update=make_train_values(request, present, default, lines))
    return estimate_with_new_data(workspace, PlanItem(tenant, "", "", train), added).to_json()
