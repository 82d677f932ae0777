"""Grammars of strangers: what is too large is refused, what is hostile is cheap, and nothing of them is kept."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from components.errors import InputError
from components.inference.constraints import DEEPEST, LARGEST, Constraint

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer(stories260k: Path) -> Any:
    return AutoTokenizer.from_pretrained(stories260k)


def nested(levels: int) -> Schema:
    found: Schema = {"type": "string"}
    for _ in range(levels):
        found = {"type": "object", "properties": {"a": found}}
    return found


@pytest.mark.parametrize("levels", [DEEPEST, 400, 100_000])
def test_what_is_too_deep_is_refused(levels: int, tokenizer: Any) -> None:
    with pytest.raises(InputError, match=rf"nested more than {DEEPEST} levels deep; flatten it"):
        Constraint.json_schema(tokenizer, nested(levels))


def test_what_is_too_large_is_refused(tokenizer: Any) -> None:
    wide = {"type": "object", "properties": {f"name-{i}": {"type": "string"} for i in range(20_000)}}
    with pytest.raises(InputError, match=rf"has [\d,]+ characters, {LARGEST:,} is the limit"):
        Constraint.json_schema(tokenizer, wide)
    with pytest.raises(InputError, match=r"the regular expression has 5,000 characters"):
        Constraint.regex(tokenizer, "a" * 5000)
    with pytest.raises(InputError, match=r"grammar of the answer has [\d,]+ characters, .* offer fewer tools"):
        Constraint.lark(tokenizer, "start: " + '"a" ' * 100_000)


def test_what_people_write_is_taken(tokenizer: Any) -> None:
    schema = {"type": "object", "properties": {f"field_{i}": {"type": "string"} for i in range(500)}, "required": ["field_0"]}
    for taken in (nested(20), schema):
        assert Constraint.json_schema(tokenizer, taken).state([1]).allowed().any()


HOSTILE: dict[str, Schema] = {
    "alternatives": {"anyOf": [{"type": "object", "properties": {f"a{i}": {"type": "integer"}}} for i in range(900)]},
    "enum": {"enum": [f"value {i}" for i in range(4000)]},
    "long strings": {"type": "string", "minLength": 100_000, "maxLength": 1_000_000},
    "many items": {"type": "array", "minItems": 100_000, "items": {"type": "string", "pattern": "(a|b){1,1000}"}},
    "repeated": {"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"},
    "conjunction": {"allOf": [{"type": "string", "pattern": f".*{letter}.{{20}}"} for letter in "abcdefgh"]},
    "doubling": {
        "$defs": {
            **{f"d{i}": {"type": "object", "properties": {n: {"$ref": f"#/$defs/d{i + 1}"} for n in "ab"}} for i in range(30)},
            "d30": {"type": "string"},
        },
        "$ref": "#/$defs/d0",
    },
    "itself": {"$ref": "#"},
    "elsewhere": {"$ref": "http://evil.invalid/schema"},
    "nothing": {"type": "string", "pattern": "a", "maxLength": 0},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_cost_little_or_are_refused(name: str, tokenizer: Any) -> None:
    began = time.process_time()
    with suppress(InputError):
        Constraint.json_schema(tokenizer, HOSTILE[name]).state([1]).allowed()
    assert time.process_time() - began < 5


SCHEMAS = """
import gc, sys
from pathlib import Path
from transformers import AutoTokenizer
from components.inference.constraints import Constraint

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])

def ask(number):
    fields = {f"field_{number}_{i}": {"type": "string", "maxLength": 40} for i in range(10)}
    state = Constraint.json_schema(tokenizer, {"type": "object", "properties": fields}).state([1])
    assert state.allowed().any()
    return state

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

for number in range(100):
    ask(number)
before = resident()
for number in range(100, 1100):
    ask(number)
grown = resident() - before
alive = [ask(number) for number in range(1100, 1400)]
print(grown, resident() - before - grown)
"""


@pytest.mark.slow
def test_a_thousand_different_schemas_leave_nothing_behind(stories260k: Path) -> None:
    """Kept, they would take as much as a thousand grammars: the ones alive at once show that this would be seen."""
    command = [sys.executable, "-c", SCHEMAS, str(stories260k.absolute())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)  # in a process that holds nothing else
    assert done.returncode == 0, done.stderr
    grown, kept = map(float, done.stdout.split())
    assert grown < 8, f"{grown:.0f} MiB after a thousand schemas"
    assert kept > 3 * max(grown, 3), "300 that are kept weigh more than a thousand that aren't"
