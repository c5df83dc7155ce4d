import pytest
from prefixfleet_vllm.commands import ReadArtifact, RemoveArtifact, Report
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.orders import ArtifactRef
from prefixfleet_vllm.resident_artifacts import ResidentArtifacts


def make_residents(limit_bytes: int = 100, workers: int = 1, max_loras: int = 0) -> ResidentArtifacts:
    return ResidentArtifacts(
        limit_bytes, workers, {"b" * 64}, lambda length: 10 * length, lambda sha, where: where or sha, max_loras
    )


def name_lora(letter: str) -> ArtifactRef:
    return ArtifactRef(sha256=letter * 64, tenant=f"tenant-{letter}", method="lora")


def is_loaded(residents: ResidentArtifacts, artifact: ArtifactRef, request: str) -> bool:
    """Let a request want an artifact, and return whether it is there."""
    resident = residents.want(artifact, request)
    return resident is not None and resident.is_loaded


def name(letter: str, length: int = 3) -> ArtifactRef:
    return ArtifactRef(sha256=letter * 64, tenant=f"tenant-{letter}", length=length)


def load(residents: ResidentArtifacts, artifact: ArtifactRef, request: str = "") -> None:
    """Let a request want an artifact until it is loaded, and release it if no request is named."""
    assert not is_loaded(residents, artifact, request or "loader")
    (command,) = [one for one in residents.take_commands() if isinstance(one, ReadArtifact)]
    residents.record(Report({command.number: 1}))
    assert is_loaded(residents, artifact, request or "loader")
    if not request:
        residents.release(artifact, "loader")


def list_names(residents: ResidentArtifacts) -> str:
    return "".join(one.artifact.sha256[0] for one in residents.residents)


def test_the_least_recently_used_artifacts_are_evicted_and_the_limit_holds() -> None:
    residents = make_residents()
    for letter in "abc":
        load(residents, name(letter))
    residents.want(name("a"), "r")
    residents.release(name("a"), "r")
    load(residents, name("d", 4))
    assert list_names(residents) == "cad"
    assert residents.used_bytes <= 100
    assert residents.evictions == 1


def test_what_a_request_waits_for_or_is_pinned_stays_and_others_wait() -> None:
    residents = make_residents()
    load(residents, name("a"), "waiting")
    load(residents, name("b"))
    residents.pin(name("b"), True)
    load(residents, name("c"))
    assert residents.want(name("d", 7), "r") is None
    assert list_names(residents) == "abc"
    residents.release(name("a"), "waiting")
    assert residents.want(name("d", 7), "r") is not None
    assert list_names(residents) == "bd"


def test_an_artifact_that_can_never_fit_is_refused() -> None:
    residents = make_residents()
    with pytest.raises(PluginError, match="110 bytes") as refused:
        residents.want(name("a", 11), "r")
    assert refused.value.kind == "memory"
    load(residents, name("b"))
    residents.pin(name("b"), True)
    with pytest.raises(PluginError, match="30 of 100 bytes in use by pinned artifacts"):
        residents.want(name("a", 8), "r")


def test_a_command_is_sent_once_and_all_workers_have_to_load() -> None:
    residents = make_residents(workers=2)
    assert not is_loaded(residents, name("a"), "first")
    assert not is_loaded(residents, name("a"), "second")
    (command,) = residents.take_commands()
    assert isinstance(command, ReadArtifact)
    residents.record(Report({command.number: 1}))
    assert not is_loaded(residents, name("a"), "first")
    residents.record(Report({command.number: 1}))
    assert is_loaded(residents, name("a"), "first")


def test_a_failure_reaches_every_waiting_request_and_the_next_one_tries_again() -> None:
    residents = make_residents(workers=2)
    for request in ("first", "second"):
        residents.want(name("a"), request)
    (command,) = residents.take_commands()
    residents.record(Report({command.number: 1}, failed={command.number: ("artifact", "it is damaged")}))
    for request in ("first", "second"):
        with pytest.raises(PluginError, match="it is damaged") as refused:
            residents.want(name("a"), request)
        assert refused.value.kind == "artifact"
    assert residents.last_errors == {"a" * 64: ("artifact", "it is damaged")}
    for request in ("first", "second"):
        residents.release(name("a"), request)
    residents.record(Report({command.number: 1}))
    assert not is_loaded(residents, name("a"), "third")
    kinds = [type(one) for one in residents.take_commands()]
    assert kinds == [RemoveArtifact, ReadArtifact]


def test_a_report_of_a_dropped_attempt_does_not_count_for_the_next() -> None:
    residents = make_residents()
    residents.want(name("a"), "first")
    (old,) = residents.take_commands()
    assert residents.drop({"a" * 64}) == 1
    assert residents.drop({"a" * 64}) == 0
    residents.want(name("a"), "second")
    residents.record(Report({old.number: 1}))
    assert not is_loaded(residents, name("a"), "second")


def test_a_drop_removes_pinned_artifacts_and_errors() -> None:
    residents = make_residents()
    load(residents, name("a"))
    residents.pin(name("a"), True)
    residents.last_errors["b" * 64] = "artifact", "damaged"
    assert residents.drop({"a" * 64, "b" * 64}) == 1
    assert (residents.residents, residents.used_bytes, residents.last_errors) == ([], 0, {})
    assert isinstance(residents.take_commands()[-1], RemoveArtifact)


def test_the_same_digest_under_another_tenant_or_length_is_another_entry() -> None:
    residents = make_residents()
    load(residents, name("a"))
    assert not is_loaded(residents, name("a", 2), "r")
    assert not is_loaded(residents, ArtifactRef(sha256="a" * 64, tenant="other", length=3), "r")
    assert residents.drop({"a" * 64}) == 3


def test_loras_are_bounded_in_number_and_prefixes_in_bytes_each_for_itself() -> None:
    residents = make_residents(max_loras=2)
    load(residents, name("d", 10))
    for letter in "ab":
        load(residents, name_lora(letter))
    assert list_names(residents) == "dab"
    load(residents, name_lora("c"))
    assert list_names(residents) == "dbc"
    load(residents, name("e"))
    assert list_names(residents) == "bce"
    assert residents.used_bytes == 30


def test_a_lora_in_use_or_pinned_stays_and_the_next_one_waits() -> None:
    residents = make_residents(max_loras=2)
    load(residents, name_lora("a"), "running")
    load(residents, name_lora("b"))
    residents.pin(name_lora("b"), True)
    assert residents.want(name_lora("c"), "r") is None
    residents.release(name_lora("a"), "running")
    assert residents.want(name_lora("c"), "r") is not None
    assert list_names(residents) == "bc"
    residents.record(Report({3: 1}))
    residents.pin(name_lora("c"), True)
    with pytest.raises(PluginError, match="2 of 2 places in use by pinned artifacts") as refused:
        residents.want(name_lora("d"), "r")
    assert refused.value.kind == "memory"


def test_without_places_a_lora_is_refused() -> None:
    with pytest.raises(PluginError, match="--enable-lora") as refused:
        make_residents().want(name_lora("a"), "r")
    assert refused.value.kind == "setup"


def test_the_workers_say_how_large_a_lora_is() -> None:
    residents = make_residents(max_loras=1, workers=2)
    residents.want(name_lora("a"), "r")
    (command,) = residents.take_commands()
    report = Report({command.number: 1}, {command.number: 640})
    report.merge(Report({command.number: 1}, {command.number: 640}))
    residents.record(report)
    (resident,) = residents.residents
    assert (resident.is_loaded, resident.size_bytes, residents.used_bytes) == (True, 640, 0)
    assert (residents.used_loras, residents.lora_bytes) == (1, 640)
