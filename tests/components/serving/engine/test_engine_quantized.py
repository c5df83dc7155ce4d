"""On a quantised base the engine answers as evaluation generates."""

from pathlib import Path
from typing import Any

import pytest
from quantized_bases import CPU_QUANTIZERS, load, save_full

from components.serving.interface import GenerationRequest


@pytest.mark.parametrize("quantize", CPU_QUANTIZERS)
def test_rows_of_many_tenants_equal_each_row_alone(
    tmp_path: Path, make_tenants: Any, answer_all: Any, sources: Any, quantize: Any
) -> None:
    tenants = make_tenants(load(save_full(tmp_path / "base"), quantize))
    requests = [
        GenerationRequest(artifact, source, max_tokens=12) for artifact in tenants.artifacts for source in sources[:3]
    ]
    answers = answer_all(tenants, requests, rows=6)
    assert answers == [tenants.answer_alone(request) for request in requests]
    assert len(set(answers)) > 1
