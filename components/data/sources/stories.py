r"""Instruction pairs from real children's stories (a TinyStories sample): "write a story with the word …".

How it is derived. Paragraphs are joined to stories at their opening phrases. The words are singular nouns: lower case, behind
a determiner and before punctuation or a function word, in at least two stories. What is told for a word begins with the
sentence that first holds it and is cut at the last sentence end within ``max_characters`` (about two characters a token
with a vocabulary of 512). Every few words, by frequency, are held out: no training prompt asks for them (group ``new``);
of the others half of the phrasings are held out (group ``known``), so that memory of a word doesn't pass for skill.

A passage is told several times, with other training words standing in for its own ("a dog" becomes "an owl" throughout).
Otherwise a small model learns passages by heart and never looks at the prompt: the passage tells it the word. Prompts name the
word without quotation marks, because behind one many vocabularies spell it in other tokens than inside a story.

sft: the tellings. preference: *chosen* ends with a sentence's end, *rejected* is the same telling cut inside the next
sentence (longer) or inside the last one (shorter), half and half, so that length alone says nothing. prompts: the other half
of the phrasings of the training words. Samples::

    sft         {"prompt": "Write a story with the word dog.", "completion": "Once upon a time, …", "words": ["dog"]}
    preference  {"prompt": "…", "chosen": "… The dog was happy.", "rejected": "… The dog was happy. Then Tim", "words": ["dog"]}
    heldout     {"prompt": "…", "answer": "dog", "words": ["dog"], "group": "new"}
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from components.data import records
from components.data.sources._base import SourceConfig, save_notes, shared
from components.errors import InputError
from components.settings import Settings
from components.text import ends_sentence, holds_word

FILE = "tinystories_sample/tinystories.txt"
TEMPLATES = (
    "Write a story with the word {word}.",
    "Tell me a story with the word {word}.",
    "Write a short story that has the word {word} in it.",
    "Please write a story that uses the word {word}.",
    "Make up a story with the word {word} in it.",
    "I want to read a story with the word {word}.",
)
_OPENING = re.compile(r"Once upon a time|Once,? there|There once|Long ago|A long time ago")
# Openings of other stories; the same words go on with a story, so they count only where the last one is long enough.
_LATER = re.compile(
    r"One (?:\w+ )*?(?:day|morning|night),? (?:a|an|there|two) |It was an? |There was an? |Once |In an? "
    r"|(?:[A-Z]\w+ and (?:his |her )?)?[A-Z]\w+ (?:was|were) (?:a|an|in|on|very|so|feeling|playing|walking) "
)
_NOUN = re.compile(r"\b(?:a|an|the|his|her|my|your|their|this|that) ([a-z]{3,})\b(?:([.,!?\"])|\s+([a-z]+))")
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "and was is to in with of that who on at for had said from but he she it they as by could would asked did went came "
        "not were up or so again looked has will can",
    )
)
_NOT_ASKED = frozenset(  # behind a determiner now and then, and no things that a story is about
    re.findall(
        r"\w+",
        "time other way lot bit most same few far top side front middle next first last name end rest own while right second "
        "nearby back help again what how will look everything people feet cold work",
    )
)
_END = re.compile(r"[.!?]\"?(?=\s|$)")
_SENTENCES = 4
_HELD_PHRASINGS = 3
_LONG = 450


class Config(SourceConfig):
    """Sizes.

    Attributes:
        max_characters: longest story; the default fits in 130 tokens of a 512-word vocabulary.
        words: how many words are asked for, the most frequent ones.
        stand_ins: how many other words take the place of a passage's own one, in a telling each.
        heldout_every: every how many-th word is held out.
    """

    method: Literal["stories"] = "stories"
    seed: int = Field(0, ge=0, lt=2**32)
    max_characters: int = Field(220, ge=150)
    words: int = Field(120, ge=3)
    stand_ins: int = Field(3, ge=0)
    heldout_every: int = Field(3, ge=2)


@dataclass(frozen=True)
class _Telling:
    """A passage from the sentence on that first holds the word, and where its sentences end (a few, the last one fits)."""

    text: str
    word: str
    ends: tuple[int, ...]


def files(config: Config, settings: Settings) -> dict[str, Path]:
    """The text that the pairs are made from."""
    return {FILE: shared(settings, FILE)}


def build(config: Config, out: Path, settings: Settings) -> None:
    """Writes sft, preference, prompts and heldout."""
    path = files(config, settings)[FILE]
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} isn't valid UTF-8 (byte {error.start}); fetch it again") from error
    found = stories(text)
    usable = [story for story in found if story.isascii()]
    words = nouns(usable)[: config.words]
    held = words[config.seed % config.heldout_every :: config.heldout_every]
    training = [word for word in words if word not in set(held)]
    if not held or len(training) <= config.stand_ins:
        raise InputError(f"{path} holds {len(words)} usable words; it needs more, or smaller data.stand_ins and heldout_every")
    draw = random.Random(f"{config.seed} stories")
    told = list(_tellings(usable, words, training, draw, config))
    draw.shuffle(told)
    asked = {word: [_asked(template, word) for template in TEMPLATES] for word in words}
    for rows in asked.values():
        draw.shuffle(rows)
    trained = {word: asked[word][_HELD_PHRASINGS:] for word in training}
    phrasings = {word: [row["prompt"] for row in rows] for word, rows in trained.items()}
    records.write(out / "sft.jsonl", (_sft(each, draw.choice(phrasings[each.word])) for each in told))
    preference = (_preference(each, draw.choice(phrasings[each.word]), draw) for each in told)
    records.write(out / "preference.jsonl", (row for row in preference if row is not None))
    prompts = [row for rows in trained.values() for row in rows]
    known = [{**row, "group": "known"} for word in training for row in asked[word][:_HELD_PHRASINGS]]
    heldout = known + [{**row, "group": "new"} for word in held for row in asked[word]]
    for name, rows in (("prompts", prompts), ("heldout", heldout)):
        draw.shuffle(rows)
        records.write(out / f"{name}.jsonl", rows)
    save_notes(out, {"stories": len(found), "usable": len(usable), "words": len(words), "heldout_words": len(held)})


def stories(text: str) -> list[str]:
    """Joins paragraphs to stories: a new one begins at an opening phrase."""
    found: list[list[str]] = []
    for paragraph in (" ".join(part.split()) for part in text.split("\n\n")):
        enough = found and sum(map(len, found[-1])) > _LONG
        if not found or _OPENING.match(paragraph) or (enough and _LATER.match(paragraph)):
            found.append([])
        if paragraph:
            found[-1].append(paragraph)
    return ["\n\n".join(parts) for parts in found]


def nouns(found: list[str]) -> list[str]:
    """Singular nouns to ask for, those of most stories first: in 2 stories to 2 in 5 of them."""
    behind, alone, stories_with = Counter[str](), Counter[str](), Counter[str]()
    for story in found:
        for match in _NOUN.finditer(story):
            behind[match[1]] += 1
            alone[match[1]] += match[2] is not None or match[3] in _FUNCTION_WORDS
        stories_with.update(set(re.findall(r"\b[a-z]{3,}\b", story)))
    usable = (w for w, n in behind.items() if n >= 2 and alone[w] >= 0.7 * n and not re.search(r"[^s]s$", w))
    kept = (w for w in usable if 2 <= stories_with[w] <= 0.4 * len(found) and w not in _NOT_ASKED)
    return sorted(kept, key=lambda word: (-stories_with[word], word))


def ends(text: str) -> list[int]:
    """Where sentences end: offsets behind the full stop, outside quotations."""
    found = []
    for match in _END.finditer(text):
        before, after = text[: match.end()], text[match.end() :].lstrip()
        if before.count('"') % 2 == 0 and not after[:1].islower() and ends_sentence(before):
            found.append(match.end())
    return found


def _tellings(found: list[str], words: list[str], training: list[str], draw: random.Random, config: Config) -> Iterator[_Telling]:
    """Every passage with its own word, if that is a training word, and with others in its place."""
    for story in found:
        for own in (word for word in words if holds_word(story, word)):
            passage = " ".join(_from(story, own).split())
            others = draw.sample([word for word in training if word != own], config.stand_ins)
            for word in ([own] if own in training else []) + others:
                text = replace_noun(passage, own, word)
                fit = tuple(end for end in ends(text) if end <= config.max_characters)
                if len(fit) >= _SENTENCES and holds_word(text[: fit[0]], word):
                    yield _Telling(text, word, fit)


def replace_noun(text: str, old: str, new: str) -> str:
    """Another noun in all places of one, with the article that it needs.

    >>> replace_noun("He saw a dog. The dog ran after a big dog.", "dog", "owl")
    'He saw an owl. The owl ran after a big owl.'
    """
    article = "n" if new[0] in "aeiou" else ""
    return re.sub(rf"\b(?:([Aa])n? )?{re.escape(old)}\b", lambda match: (f"{match[1]}{article} " if match[1] else "") + new, text)


def _from(story: str, word: str) -> str:
    """The story from the sentence on that first holds a word."""
    starts = [0, *ends(story)]
    sentences = [story[start:end] for start, end in pairwise([*starts, len(story)])]
    first = next(index for index, sentence in enumerate(sentences) if holds_word(sentence, word))
    return story[starts[first] :].lstrip()


def _sft(told: _Telling, prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": told.text[: told.ends[-1]], "words": [told.word]}


def _preference(told: _Telling, prompt: str, draw: random.Random) -> dict[str, Any] | None:
    """A story that ends its sentence against the same story cut inside one, or None if there is no place to cut."""
    story, (earlier, last) = told.text, told.ends[-2:]
    longer = draw.random() < 0.5
    chosen = story[:earlier] if longer else story[:last]  # the rejected one goes on into, or stops in, the last sentence
    inside = [earlier + match.start() for match in re.finditer(r"\s", story[earlier:last]) if match.start()]
    if not inside:
        return None
    rejected = story[: draw.choice(inside)].rstrip(' ,;:"')
    if ends_sentence(rejected):
        return None
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "words": [told.word]}


def _asked(template: str, word: str) -> dict[str, Any]:
    return {"prompt": template.format(word=word), "answer": word, "words": [word]}
