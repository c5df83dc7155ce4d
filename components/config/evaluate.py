"""The sections `evaluate` (how a split is decoded and scored) and `gate` (what a report must meet to serve)."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from components.config.section import Section

Metric = Literal["bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match", "json_valid"]
Tokenizer = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
"""sacrebleu's tokenizers, except those that download a model."""


class EvaluateConfig(Section):
    """How a split is decoded and scored."""

    split: Literal["validation", "test"] = Field(default="test", description="the split whose scores the gate compares")
    num_beams: int = Field(default=1, gt=0, description="1: no beam search")
    max_new_tokens: int = Field(default=96, gt=0, description="most tokens of an output")
    min_new_tokens: int = Field(default=0, ge=0, description="least tokens of an output")
    length_penalty: float = Field(
        default=1.0,
        description="exponent of the length by which a beam's score is divided; above 0 favours longer outputs",
    )
    banned: list[str] = Field(default_factory=list, description="texts that are never generated")
    repetition_penalty: float = Field(default=1.0, gt=0, description="on new tokens; 1: off")
    no_repeat_ngram: int = Field(default=0, ge=0, description="length of n-grams that may not repeat; 0: off")
    guidance: float = Field(default=1.0, ge=0, description="0: base alone; 1: prefix; above 1: prefix amplified")
    temperature: float = Field(default=0.0, ge=0, description="0: greedy; above 0: sampling with the seed")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="sample from the likeliest tokens with this probability in all; 1: off"
    )
    top_k: int = Field(default=0, ge=0, description="sample from this many likeliest tokens; 0: off")
    batch_size: int = Field(default=32, gt=0, description="examples decoded together")
    lowercase: bool = Field(
        default=True,
        description="ignore case when scoring, as the E2E scripts do; no rules of a language: ß and ss, ı and i differ",
    )
    tokenize: Literal["auto", Tokenizer] = Field(
        default="auto", description="makes the words that metrics compare; auto: found from the references' scripts"
    )
    bootstrap_samples: int = Field(
        default=1000, gt=0, description="samples of the test examples that an interval is computed from"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="of the intervals in reports")
    max_examples: int | None = Field(default=None, gt=0, description="evaluate only the first n; null for all")
    seed: int = Field(default=0, description="of sampled outputs and of the bootstrap")

    def select_decoding(self) -> dict[str, Any]:
        """Return the fields that change what is generated; the seed only with a temperature above 0."""
        scoring = {"split", "batch_size", "lowercase", "tokenize", "bootstrap_samples", "confidence", "max_examples"}
        return self.model_dump(mode="json", exclude=scoring if self.temperature else {*scoring, "seed"})


class NonInferiorityConfig(Section):
    """A challenger may score lower than the champion by less than `margin` (in points of the metric)."""

    metric: Metric = Field(default="bleu", description="the metric that is compared")
    margin: float = Field(default=1.0, ge=0, description="points that the challenger may be worse")
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="of the decision that it is not worse by more")


def _drop_removed_floors(floors: Any) -> Any:
    if not isinstance(floors, dict):
        return floors
    return {metric: floor for metric, floor in floors.items() if floor is not None or metric not in get_args(Metric)}


class GateConfig(Section):
    """The conditions that a report must meet before its prefix may serve."""

    floors: Annotated[dict[Metric, float], BeforeValidator(_drop_removed_floors)] = Field(
        default_factory=dict, description="minimum per metric (ter: maximum); a tenant's {} removes all, null one"
    )
    non_inferiority: list[NonInferiorityConfig] = Field(
        default_factory=lambda: [NonInferiorityConfig()],
        description="comparisons with the champion, all of which must be passed",
    )
    min_slice: int = Field(
        default=20, gt=0, description="examples that an interval needs; smaller slices are reported but not gated"
    )
    bootstrap_samples: int = Field(
        default=1000, gt=0, description="samples of the test examples that a comparison is computed from"
    )
    seed: int = Field(default=0, description="of the bootstrap")
