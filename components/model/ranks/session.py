"""The messages with which rank 0 lets the other ranks repeat its operations, and what is known of a failed one.

An error that all ranks have (a base that cannot be loaded) is rank 0's to report. Any other error ends a rank, and then
all of them. Knows functions and arguments; does not know models.
"""

import io
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from components.errors import PrefixFleetError, TrainingError

_FAILURE_TIMEOUT = timedelta(minutes=5)
_FIX = "run again (training resumes from its saved state); out of memory: lower engine.train_tokens or rows in a batch"


@dataclass(frozen=True, slots=True)
class _Reference:
    """An object that every rank holds."""

    number: int


@dataclass(frozen=True, slots=True)
class _Operation:
    """A message of rank 0."""

    function: Callable[..., Any] | None
    """None: the command has ended."""
    arguments: tuple[Any, ...]
    dropped: tuple[int, ...]
    """Objects that rank 0 does not use any more."""
    has_failed_before: bool
    """Whether rank 0 raised a PrefixFleetError in the operation before."""
    has_gradients: bool
    is_inference: bool
    """torch's modes on rank 0: in another one, a layer would exchange other tensors."""


@dataclass
class RankSession:
    """What one process knows of the others."""

    rank: int
    count: int
    group: Any
    """Carries the messages; the model's own tensors have another group."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held on rank 0 during an operation: the operations of its threads come one after the other."""
    thread: int | None = None
    """The thread that runs an operation."""
    is_broken: bool = False
    """Whether the ranks may be at different places, so that nothing can be exchanged any more."""
    has_failed: bool = False
    told_failure: Any = None
    """The message that says so; it is lost with its tensor."""
    next_number: int = 0
    numbers: dict[int, int] = field(default_factory=dict)
    """On rank 0: `id` of an object -> its number."""
    objects: dict[int, Any] = field(default_factory=dict)
    """On the other ranks: number -> object."""
    dropped: list[int] = field(default_factory=list)

    @property
    def is_inside(self) -> bool:
        """Whether this thread runs an operation, in which no other is sent."""
        return self.thread == threading.get_ident()

    def lead(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Send an operation and run it; on rank 0."""
        with self.lock:
            if self.is_broken:
                raise TrainingError("every process of torchrun at work", "one that has failed before", _FIX)
            self.thread = threading.get_ident()
            try:
                return self._run(function, arguments)
            finally:
                self.thread = None

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            self.send(function, arguments)
            result = function(*arguments)
        except PrefixFleetError:
            self.has_failed = True
            self._wait_for_failures()
            raise
        except (RuntimeError, MemoryError) as problem:
            self.is_broken = True
            line = (str(problem).splitlines() or [type(problem).__name__])[0]
            raise TrainingError("every process of torchrun at work", f"{line:.200}", _FIX) from problem
        except BaseException:
            self.is_broken = True
            raise
        self.has_failed = False
        return result

    def _wait_for_failures(self) -> None:
        """Wait until the other ranks have failed as well: one that has not is still in the operation."""
        import torch

        try:
            for rank in range(1, self.count):
                work: Any = torch.distributed.irecv(torch.zeros(1), src=rank, group=self.group)
                work.wait(_FAILURE_TIMEOUT)
        except RuntimeError:
            self.is_broken = True

    def follow(self) -> None:
        """Repeat the operations of rank 0 until its command ends; on the other ranks."""
        import torch

        self.thread, self.is_broken = threading.get_ident(), True  # an error leaves the others waiting
        while True:
            operation = self.receive()
            if operation.has_failed_before != self.has_failed:
                raise RuntimeError(f"rank {self.rank} and rank 0 have not both done the same operation")
            if operation.function is None:
                self.is_broken = False
                return
            for number in operation.dropped:
                self.objects.pop(number, None)
            arguments = [
                self.objects[one.number] if isinstance(one, _Reference) else one for one in operation.arguments
            ]
            self.has_failed = False
            try:
                with torch.inference_mode(operation.is_inference), torch.set_grad_enabled(operation.has_gradients):
                    operation.function(*arguments)
            except PrefixFleetError:
                self.has_failed = True  # rank 0 has the same error, and reports it
                told = torch.zeros(1)
                self.told_failure = told, torch.distributed.isend(told, dst=0, group=self.group)

    def send(self, function: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
        """Send a message to all other ranks."""
        import torch

        known = tuple(_Reference(self.numbers[id(one)]) if id(one) in self.numbers else one for one in arguments)
        dropped = tuple(self.dropped)
        del self.dropped[: len(dropped)]
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        stream = io.BytesIO()
        torch.save(_Operation(function, known, dropped, self.has_failed, *modes), stream, pickle_protocol=5)
        torch.distributed.broadcast_object_list([stream.getvalue()], src=0, group=self.group)

    def receive(self) -> _Operation:
        """Wait for the next message."""
        import torch

        messages: list[Any] = [None]
        torch.distributed.broadcast_object_list(messages, src=0, group=self.group)
        places = {"cuda:0": f"cuda:{torch.cuda.current_device()}"} if torch.cuda.is_available() else None
        # the message comes from a process of the same command
        operation: _Operation = torch.load(io.BytesIO(messages[0]), map_location=places, weights_only=False)
        return operation

    def share(self, one: Any) -> None:
        """Give an object, which every rank has made, its number."""
        number, self.next_number = self.next_number, self.next_number + 1
        if self.rank:
            self.objects[number] = one
            return
        self.numbers[id(one)] = number
        weakref.finalize(one, self._drop, id(one), number)

    def _drop(self, key: int, number: int) -> None:
        if self.numbers.get(key) == number:
            del self.numbers[key]
        self.dropped.append(number)

    def end(self) -> None:
        """Let the other ranks end, if they can be reached; on rank 0."""
        if not self.is_broken:
            with suppress(RuntimeError):  # a rank has failed, and torchrun ends all
                self.send(None, ())
