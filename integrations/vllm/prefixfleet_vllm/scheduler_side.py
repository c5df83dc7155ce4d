"""The scheduler's half of the connector: which request gets which artifact's slots or LoRA, and which is refused.

A request waits outside the batch while its artifact is read, and holds no blocks then; a request whose artifact is in
memory loses no step. Knows orders and the hooks of vLLM's scheduler; does not know files or tensors.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefixfleet_vllm.block_owners import NO_OWNER, BlockOwners
from prefixfleet_vllm.commands import Command, EraseBlocks, FailRequest, Report, WriteSlots
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.manifest import LORA
from prefixfleet_vllm.orders import KEY, ArtifactRef, Drop, Generation, Load, Order, Status, check_request
from prefixfleet_vllm.resident_artifacts import Resident, ResidentArtifacts
from prefixfleet_vllm.status_reply import describe_memory

Reply = dict[str, Any]


@dataclass(slots=True)
class _Tracked:
    """A request between its arrival and its end."""

    order: Order | None
    error: PluginError | None = None
    reply: Reply | None = None
    """The answer to an order."""

    @property
    def artifact(self) -> ArtifactRef | None:
        return self.order.artifact if isinstance(self.order, Generation | Load) else None

    @property
    def owner(self) -> str:
        return self.order.artifact.sha256 if isinstance(self.order, Generation) else NO_OWNER


class SchedulerSide:
    """Answers the scheduler's questions about requests, and collects the workers' commands."""

    def __init__(
        self,
        residents: ResidentArtifacts,
        owners: BlockOwners,
        *,
        serve_base: bool,
        log: Any,
        make_lora_request: Callable[[int, str], Any],
        max_lora_rank: int,
        warning: str,
    ) -> None:
        """Start without requests; `bind_block_pool` must follow before the first one.

        `make_lora_request` makes vLLM's LoRARequest of the number of an attempt and a sha256; `max_lora_rank` is 0 if
        vLLM runs without LoRA; `warning` is a part of the status.
        """
        self.residents, self._owners = residents, owners
        self._serve_base, self._log = serve_base, log
        self._make_lora_request, self._max_lora_rank, self._warning = make_lora_request, max_lora_rank, warning
        self._tracked: dict[str, _Tracked] = {}
        self._users: defaultdict[str, set[str]] = defaultdict(set)
        """sha256 -> requests that generate with it."""
        self._dropping: dict[str, set[str]] = {}
        """Request of a drop that waits -> what it drops."""
        self._erasing: set[str] = set()
        self._pool: Any = None

    def bind_block_pool(self, pool: Any) -> None:
        """Take vLLM's block pool, from which dropped artifacts' blocks are evicted."""
        self._pool = pool

    def add_request(self, request: Any) -> None:
        """Check a new request, and begin to read its artifact."""
        tracked = self._tracked[request.request_id] = _Tracked(None)
        try:
            tracked.order = self._check(request)
            if isinstance(tracked.order, Drop):
                self._dropping[request.request_id] = set(tracked.order.sha256s)
            if tracked.artifact is not None:
                self._check_not_dropping(tracked.artifact.sha256)
                self._users[tracked.artifact.sha256].add(request.request_id)
                resident = self.residents.want(tracked.artifact, request.request_id)
                if resident is not None and isinstance(tracked.order, Generation):
                    self._set_lora(request, resident)
        except PluginError as problem:
            self._refuse(request, tracked, problem)

    def count_missing_slots(self, request: Any, computed_tokens: int) -> tuple[int | None, bool]:
        """Return what `get_num_new_matched_tokens` returns: slots to write, or None while the request has to wait.

        A refused request is told to load one token in the background; that load then fails.
        """
        tracked = self._tracked[request.request_id]
        if tracked.error is None:
            try:
                return self._count_missing(request, tracked, computed_tokens), False
            except PluginError as problem:
                self._refuse(request, tracked, problem)
        return (1, True) if tracked.error is not None else (0, False)

    def note_allocation(self, request: Any, block_ids: tuple[list[int], ...], missing_slots: int) -> None:
        """Let the workers write the missing slots into the request's blocks, or report it as failed."""
        tracked = self._tracked[request.request_id]
        if tracked.error is not None and missing_slots:
            self.residents.add_command(FailRequest(request.request_id))
        elif isinstance(tracked.order, Generation):
            artifact = tracked.order.artifact
            if missing_slots:
                number = self.residents.get_loaded(artifact).number
                start = artifact.length - missing_slots
                self.residents.add_command(WriteSlots(number, start, artifact.length, block_ids))
            if artifact.method != LORA:
                self.residents.release(artifact, request.request_id)
        elif tracked.reply is None and tracked.order is not None:
            tracked.reply = self._carry_out(tracked.order)

    def build_commands(self, step: Any) -> list[Command]:
        """Note what blocks a step uses, and return the workers' commands for it. `step` is a SchedulerOutput."""
        self._note_blocks(step)
        if self._erasing:
            traces = self._owners.find_traces(
                self._erasing, lambda block: self._pool.blocks[block].block_hash is not None
            )
            self._pool.evict_blocks({block for block, first in traces.items() if first == 0})
            self.residents.add_command(EraseBlocks(traces))
            self._erasing = set()
        return self.residents.take_commands()

    def record(self, report: Report) -> None:
        """Note what the workers report."""
        self.residents.record(report)

    def finish_request(self, request: Any) -> Reply | None:
        """Forget a request; return the reply to an order, for `kv_transfer_params` of the response."""
        tracked = self._tracked.pop(request.request_id, None)
        self._owners.remove_request(request.request_id)
        self._dropping.pop(request.request_id, None)
        if tracked is None:
            return None
        if tracked.artifact is not None:
            self.residents.release(tracked.artifact, request.request_id)
            users = self._users[tracked.artifact.sha256]
            users.discard(request.request_id)
            if not users:
                del self._users[tracked.artifact.sha256]
        return None if tracked.reply is None else {KEY: tracked.reply}

    def _check(self, request: Any) -> Order | None:
        sampling = request.sampling_params
        wants_logprobs = sampling is not None and sampling.prompt_logprobs is not None
        order = check_request(
            request.kv_transfer_params,
            prompt_tokens=request.num_prompt_tokens,
            cache_salt=request.cache_salt,
            wants_prompt_logprobs=wants_logprobs or bool(request.skip_reading_prefix_cache),
            serve_base=self._serve_base,
        )
        if request.lora_request is not None:
            got, fix = "a LoRA by the name of a model", f"name the artifact in kv_transfer_params.{KEY}"
            raise PluginError("request", "a LoRA of an artifact that was checked", got, fix)
        others = {"streamed input": request.resumable, "images": request.mm_features}
        if order is not None and (found := [name for name, value in others.items() if value]):
            raise PluginError("request", "a prompt of token ids for the base itself", found[0], "omit it")
        return order

    def _check_not_dropping(self, sha256: str) -> None:
        if any(sha256 in dropped for dropped in self._dropping.values()):
            got = f"{sha256}, which is being dropped"
            raise PluginError("artifact", "an artifact that may be used", got, "retry when the drop has ended")

    def _refuse(self, request: Any, tracked: _Tracked, problem: PluginError) -> None:
        self._log.error("request %s is refused: %s", request.request_id, problem)
        if isinstance(tracked.order, Load):
            tracked.reply = {"loaded": False, "kind": problem.kind, "error": str(problem)}
            return
        tracked.error = problem
        request.skip_reading_prefix_cache = False  # or vLLM would not ask for the load that is to fail

    def _count_missing(self, request: Any, tracked: _Tracked, computed_tokens: int) -> int | None:
        match tracked.order:
            case Generation(artifact):
                missing = max(0, artifact.length - computed_tokens)
                if not missing and artifact.method != LORA:
                    return 0
                resident = self.residents.want(artifact, request.request_id)
                if resident is None or not self._set_lora(request, resident):
                    return None
                return missing if resident.is_loaded else None
            case Load(artifact) if tracked.reply is None:
                resident = self.residents.want(artifact, request.request_id)
                return 0 if resident is not None and resident.is_loaded else None
            case Drop(sha256s):
                return None if any(self._users.get(sha256) for sha256 in sha256s) else 0
        return 0

    def _set_lora(self, request: Any, resident: Resident) -> bool:
        """Give a request the LoRA of its artifact, if it has one; return whether it had it already, or needs none.

        vLLM counts the LoRAs of a step before it asks for a request's slots, so one that had none has to wait a step.
        Its blocks are named again, as the name of a LoRA is a part of their names.
        """
        if resident.artifact.method != LORA or request.lora_request is not None:
            return True
        request.lora_request = self._make_lora_request(resident.number, resident.artifact.sha256)
        request.block_hashes.clear()
        request.update_block_hashes()
        return False

    def _carry_out(self, order: Order) -> Reply | None:
        match order:
            case Load(artifact, pinned):
                self.residents.pin(artifact, pinned)
                return {"loaded": True}
            case Drop(sha256s):
                self._erasing |= set(sha256s)
                return {"dropped": self.residents.drop(sha256s)}
            case Status(sha256s):
                return describe_memory(self.residents, sha256s, self._max_lora_rank, self._warning)
        return None

    def _note_blocks(self, step: Any) -> None:
        for request_id in step.preempted_req_ids or ():
            self._owners.remove_request(request_id)
        scheduled = step.num_scheduled_tokens
        for new in step.scheduled_new_reqs:
            tokens = new.num_computed_tokens + scheduled[new.req_id]
            self._owners.set_blocks(new.req_id, self._get_owner(new.req_id), new.block_ids, tokens)
        cached = step.scheduled_cached_reqs
        for request_id, blocks, computed in zip(
            cached.req_ids, cached.new_block_ids, cached.num_computed_tokens, strict=True
        ):
            tokens = computed + scheduled[request_id]
            if request_id in cached.resumed_req_ids:
                self._owners.set_blocks(request_id, self._get_owner(request_id), blocks or (), tokens)
            else:
                self._owners.add_blocks(request_id, blocks, tokens)

    def _get_owner(self, request_id: str) -> str:
        tracked = self._tracked.get(request_id)
        return NO_OWNER if tracked is None else tracked.owner
