r"""Instruction pairs from real children's stories (a TinyStories sample): "write a story with the word …".

How it is derived. Paragraphs are joined to stories at their opening phrases. The words are lower-case nouns and adjectives
that stand behind an article, a possessive or "very" in at least three stories. What is told for a word begins with the
sentence that first holds it and is cut at the last sentence end within ``max_characters`` (about two characters a token
with a vocabulary of 512). Every few words, by frequency, are held out: no training prompt asks for them (group ``new``);
of the others half of the phrasings are held out (group ``known``), so that memory of a word doesn't pass for skill.

sft: a story for each of its rarer words. preference: *chosen* ends with a sentence's end, *rejected* is the same story cut
inside the next sentence (longer) or inside the last one (shorter), half and half, so that length alone says nothing.
prompts: the other half of the phrasings of the training words. Samples::

    sft         {"prompt": "Write a story with the word \"dog\".", "completion": "Once upon a time, …", "words": ["dog"]}
    preference  {"prompt": "…", "chosen": "… The dog was happy.", "rejected": "… The dog was happy. Then Tim", "words": ["dog"]}
    heldout     {"prompt": "…", "answer": "dog", "words": ["dog"], "group": "new"}
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
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
    'Write a story with the word "{word}".',
    'Tell me a story with the word "{word}".',
    'Write a short story that has the word "{word}" in it.',
    'Please write a story that uses the word "{word}".',
    'Make up a story with the word "{word}" in it.',
    'I want to read a story with the word "{word}".',
)
_OPENING = re.compile(r"Once upon a time|Once,? there|There once|Long ago|A long time ago")
# Openings of other stories; the same words go on with a story, so they count only where the last one is long enough.
_LATER = re.compile(
    r"One (?:\w+ )*?(?:day|morning|night),? (?:a|an|there|two) |It was an? |There was an? |Once |In an? "
    r"|(?:[A-Z]\w+ and (?:his |her )?)?[A-Z]\w+ (?:was|were) (?:a|an|in|on|very|so|feeling|playing|walking) "
)
_WORD = re.compile(r"\b(?:a|an|the|his|her|my|your|their|some|very) ([a-z]{3,})\b")
_COMMON = frozenset(
    (
        "time", "other", "way", "lot", "bit", "most", "same", "few", "far", "top", "side", "front", "middle", "next",
        "first", "last", "name", "end", "rest", "own", "while", "right", "second", "nearby",
    )
)  # fmt: skip
_END = re.compile(r"[.!?]\"?(?=\s|$)")
_SENTENCES = 4
_HELD_PHRASINGS = 3
_LONG = 450


class Config(SourceConfig):
    """Sizes.

    Attributes:
        max_characters: longest story; the default fits in 250 tokens of a 512-word vocabulary.
        words_per_story: SFT and preference rows for each story, at most.
        words: how many words are asked for, the most frequent ones.
        heldout_every: every how many-th word is held out.
    """

    method: Literal["stories"] = "stories"
    seed: int = Field(0, ge=0, lt=2**32)
    max_characters: int = Field(400, ge=200)
    words_per_story: int = Field(6, ge=1)
    words: int = Field(200, ge=3)
    heldout_every: int = Field(3, ge=2)


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
    words = frequent_words(usable)[: config.words]
    held = words[config.seed % config.heldout_every :: config.heldout_every]
    training = [word for word in words if word not in set(held)]
    if not held or not training:
        raise InputError(f"{path} holds {len(words)} usable words; it needs {config.heldout_every} or more")
    pairs = list(_pairs(usable, training, config))
    draw = random.Random(f"{config.seed} stories")
    draw.shuffle(pairs)
    asked = {word: [_asked(template, word) for template in TEMPLATES] for word in words}
    for rows in asked.values():
        draw.shuffle(rows)
    trained = {word: asked[word][_HELD_PHRASINGS:] for word in training}
    phrasings = {word: [row["prompt"] for row in rows] for word, rows in trained.items()}
    records.write(out / "sft.jsonl", (_sft(s, w, draw.choice(phrasings[w]), config) for s, w in pairs))
    preference = (_preference(s, w, draw.choice(phrasings[w]), draw, config) for s, w in pairs)
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


def frequent_words(found: list[str]) -> list[str]:
    """Words to ask for, the most frequent first: lower case, behind a determiner, in 3 stories to 2 in 5 of them."""
    behind = Counter(word for story in found for word in _WORD.findall(story))
    in_stories = Counter(word for story in found for word in set(re.findall(r"\b[a-z]{3,}\b", story)))
    every = Counter(word for story in found for word in re.findall(r"\b[a-z]{3,}\b", story.lower()))
    most = 0.4 * len(found)
    return sorted(
        (w for w, n in behind.items() if 3 <= in_stories[w] <= most and n >= 0.25 * every[w] and w not in _COMMON),
        key=lambda word: (-in_stories[word], word),
    )


def ends(text: str) -> list[int]:
    """Where sentences end: offsets behind the full stop, outside quotations."""
    found = []
    for match in _END.finditer(text):
        before, after = text[: match.end()], text[match.end() :].lstrip()
        if before.count('"') % 2 == 0 and not after[:1].islower() and ends_sentence(before):
            found.append(match.end())
    return found


def _cut(story: str, config: Config) -> str:
    """The story's longest beginning of whole sentences that fits."""
    return story[: [end for end in ends(story) if end <= config.max_characters][-1]]


def _pairs(found: list[str], words: list[str], config: Config) -> Iterator[tuple[str, str]]:
    """(what is told from the sentence on that first holds the word, the word), the rarer words first."""
    for story in found:
        told = [(word, _from(story, word)) for word in reversed(words) if holds_word(story, word)]
        enough = [(rest, word) for word, rest in told if len(ends(rest[: config.max_characters])) > _SENTENCES]
        yield from enough[: config.words_per_story]


def _from(story: str, word: str) -> str:
    """The story from the sentence on that first holds a word."""
    starts = [0, *ends(story)]
    sentences = [story[start:end] for start, end in pairwise([*starts, len(story)])]
    first = next(index for index, sentence in enumerate(sentences) if holds_word(sentence, word))
    return story[starts[first] :].lstrip()


def _sft(story: str, word: str, prompt: str, config: Config) -> dict[str, Any]:
    return {"prompt": prompt, "completion": _cut(story, config), "words": [word]}


def _preference(story: str, word: str, prompt: str, draw: random.Random, config: Config) -> dict[str, Any] | None:
    """A story that ends its sentence against the same story cut inside one, or None if the word comes too late."""
    places = [end for end in ends(story) if end <= config.max_characters]
    earlier, last = places[-2], places[-1]
    longer = draw.random() < 0.5
    chosen = story[:earlier] if longer else story[:last]  # the rejected one goes on into, or stops in, the last sentence
    inside = [m.start() for m in re.finditer(r"\s", story[earlier:last].lstrip())]
    if not inside or not holds_word(story[:earlier], word):
        return None
    start = last - len(story[earlier:last].lstrip())
    rejected = story[: start + draw.choice(inside)].rstrip(' ,;:"\n')
    if ends_sentence(rejected):
        return None
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "words": [word]}


def _asked(template: str, word: str) -> dict[str, Any]:
    return {"prompt": template.format(word=word), "answer": word, "words": [word]}
