import re

from prefixfleet_vllm import manifest

from components.config.tenant_id import TENANT_ID
from components.registry import manifest as own


def describe(model: type) -> dict:
    schema = model.model_json_schema()
    fields = {name: {**field, "description": ""} for name, field in schema["properties"].items()}
    return {"fields": fields, "required": schema["required"], "more": schema["additionalProperties"]}


def test_both_have_the_same_fields_schema_and_file_names() -> None:
    assert describe(manifest.Manifest) == describe(own.Manifest)
    assert manifest.ARTIFACT_SCHEMA == own.ARTIFACT_SCHEMA
    assert (manifest.MANIFEST_FILE, manifest.TENSORS_FILE) == (own.MANIFEST_FILE, own.TENSORS_FILE)
    assert re.fullmatch(r"\^(.*)\$", manifest.TENANT_PATTERN)[1] == TENANT_ID.pattern
