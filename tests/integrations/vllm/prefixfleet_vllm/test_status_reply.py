from prefixfleet_vllm.commands import Report
from prefixfleet_vllm.orders import ArtifactRef
from prefixfleet_vllm.resident_artifacts import ResidentArtifacts
from prefixfleet_vllm.status_reply import describe_memory

PREFIX = ArtifactRef(sha256="a" * 64, tenant="acme", length=3)
LORA = ArtifactRef(sha256="c" * 64, tenant="beta", method="lora")


def test_artifacts_errors_and_limits_are_described() -> None:
    residents = ResidentArtifacts(100, 1, {"b" * 64}, lambda length: 10 * length, lambda sha, _: sha, 4)
    residents.want(PREFIX, "r")
    residents.want(LORA, "r")
    residents.record(Report({2: 1}, {2: 640}))
    residents.pin(LORA, True)
    residents.last_errors["e" * 64] = "artifact", "damaged"
    reply = describe_memory(residents, (), 16, "untested")
    assert reply["artifacts"] == {
        "a" * 64: {"tenant": "acme", "method": "prefix", "state": "loading", "bytes": 30, "pinned": False},
        "c" * 64: {"tenant": "beta", "method": "lora", "state": "loaded", "bytes": 640, "pinned": True},
    }
    assert reply["errors"] == {"e" * 64: {"kind": "artifact", "error": "damaged"}}
    assert (reply["used_bytes"], reply["limit_bytes"], reply["max_loras"], reply["max_lora_rank"]) == (30, 100, 4, 16)
    assert list(describe_memory(residents, {LORA.sha256}, 0, "")["artifacts"]) == [LORA.sha256]
