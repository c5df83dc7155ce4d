"""Direct into reported speech by rule: "Can you help me?" becomes "#Person1# asks #Person2# to help #Person1#.".

Rough on purpose: it teaches a reader to pick a line of a dialogue, turn its persons and keep its words. Knows no topic.
"""

import re

_WHO = r"(?:i|you|he|she|it|we|they|there|this|that|(?:the|my|your|his|her|our|their) \w+)"
_AUXILIARY = r"(?:am|is|are|was|were|can|could|will|would|should|may|must|have|has|had)"
_QUESTION_WORD = (
    r"(?:what(?: time| kind of \w+)?|where|when|why|who|how(?: much| many| long| often| far| soon)?|which \w+)"
)

_WH = re.compile(rf"^({_QUESTION_WORD}) ({_AUXILIARY}|do|does|did) ({_WHO})\b ?(.*)$", re.IGNORECASE)
_YES_NO = re.compile(rf"^({_AUXILIARY}|do|does|did) ({_WHO})\b ?(.*)$", re.IGNORECASE)
_LEADS = (
    (re.compile(r"^(?:can|could|would|will) you (?:please )?(.+)$", re.IGNORECASE), "{s} asks {l} to {r}."),
    (re.compile(r"^(?:would you like|do you want) (?:to )?(.+)$", re.IGNORECASE), "{s} asks whether {l} wants {r}."),
    (re.compile(r"^(?:can|could|may) i (.+)$", re.IGNORECASE), "{s} asks to {r}."),
    (re.compile(r"^(?:how|what) about (.+)$", re.IGNORECASE), "{s} suggests {r}."),
    (re.compile(r"^why don't (?:we|you) (.+)$", re.IGNORECASE), "{s} suggests {l} {r}."),
    (re.compile(r"^let's (.+)$", re.IGNORECASE), "{s} suggests they {r}."),
    (re.compile(r"^please (.+)$", re.IGNORECASE), "{s} asks {l} to {r}."),
    (re.compile(r"^you (?:should|'d better|had better) (.+)$", re.IGNORECASE), "{s} suggests {l} {r}."),
    (re.compile(r"^(?:i'd like|i would like) (.+)$", re.IGNORECASE), "{s} wants {r}."),
    (re.compile(r"^i think (.+)$", re.IGNORECASE), "{s} thinks {r}."),
    (re.compile(r"^i'm sorry,? (?:but )?(.+)$", re.IGNORECASE), "{s} apologizes that {r}."),
)
_OPENERS = re.compile(
    r"^(?:(?:oh|well|yes|no|yeah|ok|okay|right|sure|so|and|but|hi|hello|hey|thanks|really|of course|by the way|then|"
    r"actually|excuse me|i see|great|all right)\b[ ,.!]*)+",
    re.IGNORECASE,
)
_BARE = frozenset(
    """want need like love hope think know feel work live believe prefer hate agree see understand plan enjoy go take
    get come make look find use eat drink play study learn remember forget wonder guess mean suppose wish try buy
    pay sell speak talk say tell ask call write read drive walk run sleep wake start stop keep leave stay sit stand
    help worry miss meet own spend wear watch listen hear""".split()
)
_PERSONS = {"i": "{s}", "me": "{s}", "my": "{s}'s", "mine": "{s}'s", "myself": "{s}", "we": "they", "us": "them"}
_PERSONS |= {"our": "their", "ours": "theirs", "you": "{l}", "your": "{l}'s", "yours": "{l}'s", "yourself": "{l}"}
_AGREE = {"am": "is", "are": "is", "have": "has", "don't": "doesn't", "haven't": "hasn't", "do": "does"}
_EXPAND = {"'m": " is", "'re": " is", "'ve": " has", "'ll": " will", "'d": " would"}


def reported(speaker: str, listener: str, sentence: str) -> str | None:
    """One sentence of the speaker as an onlooker tells it; None where fewer than three words remain of it."""
    question = sentence.rstrip().endswith("?")
    core = _OPENERS.sub("", sentence.strip().replace("’", "'")).rstrip(" .!?,")
    if len(core.split()) < 3:
        return None
    for pattern, frame in _LEADS:
        if found := pattern.match(core):
            return _fill(frame, speaker, listener, found[1])
    if question and (found := _WH.match(core)):
        clause = _declarative(found[2], found[3], found[4])
        return _fill("{s} asks {l} " + found[1].lower() + " {r}.", speaker, listener, clause)
    if question and (found := _YES_NO.match(core)):
        return _fill("{s} asks {l} whether {r}.", speaker, listener, _declarative(found[1], found[2], found[3]))
    if question:
        return _fill("{s} asks {l} {r}.", speaker, listener, core)
    turned = _turn(core, speaker, listener)
    if core.lower().startswith(("i ", "i'")):
        return f"{turned}."
    return f"{speaker} tells {listener} {turned}." if len(core) % 2 else f"{speaker} says {turned}."


def _declarative(auxiliary: str, subject: str, rest: str) -> str:
    if auxiliary.lower() in ("do", "does", "did"):
        return f"{subject} {rest}"
    return f"{subject} {auxiliary.lower()} {rest}"


def _fill(frame: str, speaker: str, listener: str, rest: str) -> str:
    return frame.format(s=speaker, l=listener, r=_turn(rest, speaker, listener).strip()).replace(" .", ".")


def _turn(text: str, speaker: str, listener: str) -> str:
    """Turn first and second persons into names, and the verb that follows one into the third person."""
    words: list[str] = []
    agreeing = False
    for number, word in enumerate(text.split()):
        base, tail = _split(word)
        lower = base.lower()
        if (person := _PERSONS.get(lower)) is not None:
            single = lower in ("i", "you")
            if lower in ("i", "we") or not tail.startswith("'"):
                ending = _EXPAND.get(tail, tail) if single else tail
            else:
                ending = _EXPAND.get(tail, tail)
            words.append(person.format(s=speaker, l=listener) + ending)
            agreeing = single and not tail
            continue
        if agreeing and lower in _AGREE:
            word = _AGREE[lower] + tail
        elif agreeing and lower in _BARE:
            word = _third(lower) + tail
        elif number == 0 and lower not in ("english", "chinese") and base[1:].islower() and len(words) == 0:
            word = word[0].lower() + word[1:]
        agreeing = agreeing and lower in ("really", "also", "just", "always", "never", "often", "usually", "still")
        words.append(word)
    return " ".join(words)


def _split(word: str) -> tuple[str, str]:
    if found := re.match(r"^(i|you|we|they)('(?:m|re|ve|ll|d))$", word, re.IGNORECASE):
        return found[1], found[2]
    found = re.match(r"^([A-Za-z']*)(.*)$", word)
    return (found[1], found[2]) if found else (word, "")


def _third(verb: str) -> str:
    if verb.endswith(("s", "sh", "ch", "o")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"
