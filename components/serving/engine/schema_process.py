"""Compile a JSON schema; as a process, the one in stdin, under limits of the operating system.

llguidance's own limits miss some schemas: many patterns in `allOf`, or a large `multipleOf`, take minutes and
gigabytes. Imports nothing of the project, so that the process starts in a tenth of a second.
"""

import os
import resource
import sys

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

_WHITE_SPACE = r"[ ]?|\n([ ]{0,32}|\t{0,8})"
"""Between the parts of JSON; limited, so that a model cannot write white space for ever."""
_NICENESS = 5
_END_ID = 256


class _Bytes:
    """A vocabulary of bytes: what a schema costs does not depend on the base's vocabulary."""

    bos_token_id, eos_token_id, special_token_ids = None, _END_ID, (_END_ID,)
    tokens = (*(bytes([value]) for value in range(_END_ID)), b"<end>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def compile_schema(schema: str, tokenizer: LLTokenizer) -> LLMatcher:
    """Return the matcher of a schema's JSON. Raises ValueError: it is invalid or not supported."""
    limits = LLParserLimits(verbose_errors=False)
    grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": _WHITE_SPACE})
    is_invalid, messages = LLMatcher.validate_grammar_with_warnings(grammar, tokenizer, limits=limits)
    if is_invalid:
        raise ValueError("; ".join(messages))
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if problem := matcher.get_error():
        raise ValueError(problem)
    return matcher


def main(seconds: int, size: int) -> None:
    """Compile the schema and compute the first tokens; print the problem, if there is one.

    The system ends the process after so many seconds of processor time, or at so many bytes of memory.
    """
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU at the first, SIGKILL at the second
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()), n_vocab=_END_ID + 1, eos_token=_END_ID)
    try:
        matcher = compile_schema(sys.stdin.buffer.read().decode(), tokenizer)
        matcher.compute_logit_bias()
        problem = matcher.get_error()
        if "NoExtension" in problem:
            problem = "a schema that no value meets"
    except ValueError as error:
        problem = str(error)
    sys.stdout.write(problem)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
