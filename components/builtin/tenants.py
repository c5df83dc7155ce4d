"""Four built-in tenants, written as drops. Their domains and wordings are not in the base's pretraining text.

The drops are the same every time. Each tenant has 400 training, 60 validation and 100 test examples. Half of the test
examples are the slice `seen`: the values in their records come from the lists that training used. In the other half,
the slice `unseen`, every value is held out. A validation or test example has up to four references: texts of
the same record in different wordings.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from components.builtin import names

SPLIT_SIZES = {"train": 400, "validation": 60, "test": 100}
REFERENCES_PER_EXAMPLE = 4
_POOL_SIZE = 60

ValueSource = Callable[[Random], str] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuiltinTenant:
    """A tenant: its records' keys with the source of their values, the keys that may be missing, and its wordings.

    A value comes from a function, or from a list whose last third is held out for the `unseen` slice. Every element of
    `wordings` is one part of the text, as alternatives of the same meaning. A part is left out if the record lacks one
    of its keys.
    """

    tenant: str
    value_sources: dict[str, ValueSource]
    optional_keys: frozenset[str]
    wordings: tuple[tuple[str, ...], ...]


def _split_values(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("/"))


BUILTIN_TENANTS = (
    BuiltinTenant(
        "harbour-log",
        {
            "vessel": lambda r: f"{r.choice(('MV', 'SS'))} {names.make_title(r)}",
            "flag": names.make_place,
            "cargo": _split_values(
                "timber/steel coils/bananas/rape seed/used cars/road salt/granite/paper rolls/olive oil/frozen cod/"
                "cement/wool/apples/wind turbine blades/sugar/china clay/barley/fertiliser"
            ),
            "berth": lambda r: str(r.randrange(1, 90)),
            "tide": names.make_hour,
        },
        frozenset({"cargo", "tide"}),
        (
            ("Berth {berth} log:",),
            ("{vessel}, {flag} flag, made fast alongside.", "{vessel}, {flag} flag, is made fast alongside."),
            ("Cranes are to lift {cargo} from her holds.", "Cranes will lift {cargo} from her holds."),
            ("Next high water falls at {tide}.", "High water falls next at {tide}."),
        ),
    ),
    BuiltinTenant(
        "hive-notes",
        {
            "honey": lambda r: f"{names.make_word(r)} {r.choice(('Gold', 'Comb', 'Blossom', 'Reserve'))}",
            "beekeeper": names.make_person,
            "forage": _split_values(
                "lime trees/heather/white clover/bramble/borage/apple orchards/hawthorn/ivy/sweet chestnut/dandelion/"
                "rosebay willowherb/field beans/lavender/sea holly/phacelia"
            ),
            "jar": lambda r: f"{r.randrange(10, 90) * 10} g",
            "harvest": names.make_date,
        },
        frozenset({"forage", "harvest"}),
        (
            ("Dear honey friends, meet {honey}.", "Dear honey friends, say hello to {honey}."),
            ("{beekeeper} tends these bees by hand,", "{beekeeper} keeps these bees by hand,"),
            ("who forage on {forage},",),
            ("and spun the comb on {harvest},",),
            ("yours in jars of {jar} while they last.",),
        ),
    ),
    BuiltinTenant(
        "night-sky",
        {
            "object": lambda r: f"{r.choice(('NGC', 'IC', 'M'))} {r.randrange(1, 9000)}",
            "constellation": names.make_place,
            "magnitude": lambda r: f"{r.randrange(1, 15)}.{r.randrange(10)}",
            "instrument": _split_values(
                "pair of binoculars/small refractor/six inch reflector/finder scope/spotting scope/"
                "large Dobsonian/schoolroom telescope/camera on a tripod/eight inch mirror/opera glass/"
                "patient naked eye/travel scope"
            ),
            "culmination": names.make_hour,
        },
        frozenset({"instrument", "culmination"}),
        (
            ("Tonight point your eyes towards {constellation}!", "Tonight turn your eyes towards {constellation}!"),
            ("There {object} glows at magnitude {magnitude},", "There {object} shines at magnitude {magnitude},"),
            ("well within reach of any {instrument},",),
            ("climbing highest about {culmination},", "standing highest about {culmination},"),
            ("so wrap up warm and happy stargazing.",),
        ),
    ),
    BuiltinTenant(
        "loan-desk",
        {
            "exhibit": names.make_title,
            "attribution": names.make_person,
            "lender": lambda r: f"{names.make_place(r)} {r.choice(('Museum', 'Gallery', 'Trust', 'Archive'))}",
            "insured": names.make_price,
            "return": names.make_date,
        },
        frozenset({"attribution", "insured"}),
        (
            ("Loan agreement: the borrower takes charge of {exhibit}",),
            ("by the hand of {attribution}", "from the hand of {attribution}"),
            ("through the courtesy of the {lender}.", "by courtesy of the {lender}."),
            ("Insured nail to nail for {insured}.", "Cover runs nail to nail for {insured}."),
            ("It shall go home no later than {return}.", "It shall be sent home no later than {return}."),
        ),
    ),
)


def write_builtin_drops(folder: Path) -> list[str]:
    """Write `<folder>/<tenant>/<split>.jsonl` for every built-in tenant and return the tenants' ids."""
    for builtin in BUILTIN_TENANTS:
        target = folder / builtin.tenant
        target.mkdir(parents=True, exist_ok=True)
        for split, lines in generate_examples(builtin).items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (target / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return [builtin.tenant for builtin in BUILTIN_TENANTS]


def generate_examples(builtin: BuiltinTenant) -> dict[str, list[dict[str, object]]]:
    """Return the tenant's three splits, as lines of the data format."""
    random = Random(builtin.tenant)
    pools = {key: _split_seen_and_unseen(values, random) for key, values in builtin.value_sources.items()}
    seen = {key: pair[0] for key, pair in pools.items()}
    unseen = {key: pair[1] for key, pair in pools.items()}
    splits: dict[str, list[dict[str, object]]] = {}
    for split, count in SPLIT_SIZES.items():
        splits[split] = []
        for index in range(count):
            held_out = split == "test" and index % 2 == 1
            line = _generate_line(
                builtin, unseen if held_out else seen, random, 1 if split == "train" else REFERENCES_PER_EXAMPLE
            )
            if split == "test":
                line["slice"] = "unseen" if held_out else "seen"
            splits[split].append(line)
    return splits


def _split_seen_and_unseen(values: ValueSource, random: Random) -> tuple[list[str], list[str]]:
    if isinstance(values, tuple):
        cut = len(values) * 2 // 3
        return list(values[:cut]), list(values[cut:])
    made = list(dict.fromkeys(values(random) for _ in range(_POOL_SIZE * 6)))
    cut = min(_POOL_SIZE, len(made) * 2 // 3)
    return made[:cut], made[cut : cut + _POOL_SIZE]


def _generate_line(
    builtin: BuiltinTenant, pools: dict[str, list[str]], random: Random, references: int
) -> dict[str, object]:
    record = {key: random.choice(pools[key]) for key in builtin.value_sources}
    for key in builtin.value_sources:
        if key in builtin.optional_keys and random.random() < 0.3:
            del record[key]
    source = " | ".join(f"{key} : {value}" for key, value in record.items())
    parts = [part for part in builtin.wordings if all(_has_all_keys(text, record) for text in part)]
    wordings = [" ".join(words).format(**record) for words in itertools.product(*parts)]
    return {"source": source, "references": random.sample(wordings, min(references, len(wordings)))}


def _has_all_keys(text: str, record: dict[str, str]) -> bool:
    return all(key in record for key in _find_keys(text))


def _find_keys(text: str) -> Sequence[str]:
    return [piece.split("}")[0] for piece in text.split("{")[1:]]
