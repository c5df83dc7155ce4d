"""mteval-v13a-sig.pl of the E2E challenge, transcribed subroutine by subroutine, for tests to compare with.

`create_mteval_file` of its measure_scores.py pads the references with empty segments; the script then counts those
references of a segment that are not empty.
"""

import math
import re

MAX_NGRAM = 9


def score_corpus(predictions, references):
    """Return (BLEU, NIST) as the script prints them, before rounding."""
    width = max(len(own) for own in references)
    padded = [[*own, *[""] * (width - len(own))] for own in references]
    test = [tokenization(text) for text in predictions]
    segments = [[tokenization(text) for text in own] for own in padded]
    info = compute_ngram_info(segments)
    ref_length, nrefs = 0, 0
    match, tst, ref, tst_info = ([0.0] * (MAX_NGRAM + 1) for _ in range(4))
    for tst_seg, ref_segs in zip(test, segments, strict=True):
        length, count, *parts = score_segment(tst_seg, ref_segs, info)
        ref_length, nrefs = ref_length + length, nrefs + count
        for total, part in zip((match, tst, ref, tst_info), parts, strict=True):
            for j in range(1, MAX_NGRAM + 1):
                total[j] += part[j]
    return bleu_score(ref_length, match, tst), nist_score(nrefs / len(test), tst, ref, tst_info)


def tokenization(text):
    text = re.sub(r"[\s\n\r]+", " ", text)
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, character)
    text = f" {text} "
    text = re.sub("[A-Z]", lambda found: found.group().lower(), text)
    text = re.sub(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", r" \1 ", text)
    text = re.sub(r"([^0-9])([\.,])", r"\1 \2 ", text)
    text = re.sub(r"([\.,])([^0-9])", r" \1 \2", text)
    text = re.sub(r"([0-9])(-)", r"\1 \2 ", text)
    return re.sub(r"\s+", " ", text).strip()


def words_to_ngrams(words):
    count = {}
    for start in range(len(words)):
        for end in range(start + 1, min(start + MAX_NGRAM, len(words)) + 1):
            ngram = " ".join(words[start:end])
            count[ngram] = count.get(ngram, 0) + 1
    return count


def compute_ngram_info(segments):
    count, total = {}, 0
    for text in (text for own in segments for text in own):
        words = text.split()
        total += len(words)
        for ngram, times in words_to_ngrams(words).items():
            count[ngram] = count.get(ngram, 0) + times
    info = {}
    for ngram, times in count.items():
        before = " ".join(ngram.split(" ")[:-1])
        is_true = before not in ("", "0")  # the truth of a string in Perl
        info[ngram] = -math.log(times / count[before] if is_true else times / total) / math.log(2)
    return info


def score_segment(tst_seg, ref_segs, info):
    match, tst, ref, tst_info = ([0.0] * (MAX_NGRAM + 1) for _ in range(4))
    tst_words = tst_seg.split()
    for j in range(1, MAX_NGRAM + 1):
        tst[j] = max(0, len(tst_words) - j + 1)
    nrefs, ref_length, most = 0, None, {}
    for ref_seg in ref_segs:
        nrefs += ref_seg != ""
        ref_words = ref_seg.split()
        for ngram, times in words_to_ngrams(ref_words).items():
            most[ngram] = max(most.get(ngram, 0), times)
        for j in range(1, MAX_NGRAM + 1):
            ref[j] += max(0, len(ref_words) - j + 1)
        if ref_length is None:
            ref_length = len(ref_words)
        else:
            ref_length = brevity_penalty_closest(ref_length, len(ref_words), len(tst_words))
    for ngram, times in words_to_ngrams(tst_words).items():
        if ngram in most:
            order = len(ngram.split(" "))
            tst_info[order] += info[ngram] * min(times, most[ngram])
            match[order] += min(times, most[ngram])
    return ref_length, nrefs, match, tst, ref, tst_info


def brevity_penalty_closest(current, reference, candidate):
    if not reference:
        return current
    if abs(candidate - reference) == abs(candidate - current):
        return min(current, reference)
    return reference if abs(candidate - reference) < abs(candidate - current) else current


def bleu_score(ref_length, match, tst):
    score, smooth = 0.0, 1
    brevity = math.exp(min(0, 1 - ref_length / tst[1])) if tst[1] > 0 else 0.0
    for j in range(1, 5):
        if tst[j] == 0:
            part = 0.0
        elif match[j] == 0:
            smooth *= 2
            part = math.log(1 / (smooth * tst[j]))
        else:
            part = math.log(match[j] / tst[j])
        score += part
    return math.exp(score / 4) * brevity


def nist_score(nsys, tst, ref, tst_info):
    return sum(tst_info[n] / max(tst[n], 1) for n in range(1, 6)) * nist_length_penalty(tst[1] / (ref[1] / nsys))


def nist_length_penalty(ratio):
    if ratio >= 1:
        return 1
    if ratio <= 0:
        return 0
    return math.exp(math.log(0.5) / math.log(1.5) / math.log(1.5) * math.log(ratio) * math.log(ratio))
