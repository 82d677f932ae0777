"""LiveBench's scoring rules, each on answers whose scores follow from the published rules; and the rules' edges."""

from __future__ import annotations

import doctest
import time
from typing import Any

import pytest

from components.benchmarks._livebench import answers, coding, data_analysis, language, mathematics, reasoning

CHOICES = (
    r"What is $1+1$? $\textbf{(A)}~1\qquad\textbf{(B)}~2\qquad\textbf{(C)}~\frac{7}{2}\qquad\textbf{(D)}~4\qquad\textbf{(E)}~5$"
)


@pytest.mark.parametrize("module", [answers, coding])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("truth", "answer", "score"),
    [
        ("B", "So BBBBB.", 1),
        ("B", "So DDDDD.", 0),
        ("B", "<solution>b</solution>", 1),
        ("B", "<solution>BB</solution>", 1),
        ("B", "<solution>C</solution> then <solution>B</solution>", 1),
        ("B", "<solution>B</solution> then <solution>C</solution>", 0),
        ("B", r"$\boxed{B}$", 1),
        ("B", r"$\boxed{\text{B}}$", 1),
        ("B", r"$\boxed{C}$", 0),
        ("C", r"The value is $\frac{7}{2}$.", 1),  # the choice's own value near the end
        ("C", r"It is $\frac{7}{2}$. " + "But then there was much more to be said of it.", None),
        ("B", "It must be\n**B**", 1),
        ("B", "It must be\n(B) 2, of course not 3 but indeed two.", 1),
        ("B", "It must be\n(D) 4.", 0),
        ("B", "I don't know.", None),
    ],
)
def test_contest(truth: str, answer: str, score: float | None) -> None:
    assert mathematics.contest(truth, answer, CHOICES) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [("the answer is 073", 1), ("the answer is 73", 0), ("073" + "." * 47, 1), ("073" + "." * 50, None), ("", None)],
)
def test_aime_looks_at_the_last_fifty_characters(answer: str, score: float | None) -> None:
    assert mathematics.aime("073", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Answer: 1,2,3,4", 1),
        ("Some words.\nAnswer: 1, 2, 4, 3", 0.5),
        ("**Answer:** 1, 2, 3", 0.75),
        ("Answer: 1,2,3,4,5,6,7,8", 0.5),  # what is too much counts against it
        ("Answer: 9\nThen Answer: 1,2,3,4", 1),  # the last one
        ("Answer:\n1,2,3,4", 1),
        ("Answer: <1>, <2>, <3>, <4>.", 1),
        (r"Answer: $\boxed{1}$, 2, x, 4", 0.75),  # what is no number holds its place
        (r"So $\boxed{1,2,3,4}$", 1),
        ("the order is\n1, 2, 3, 4", 1),
        ("the order is\n(1), (2), (3), (4)", 1),
        ("I can't say.", None),
    ],
)
def test_proof_order(answer: str, score: float | None) -> None:
    assert mathematics.proof_order("1,2,3,4", answer) == score


@pytest.mark.parametrize(
    ("truth", "answer", "score"),
    [
        (r"\frac{1}{2}", r"$\boxed{\frac{1}{2}}$", 1),
        (r"\frac{1}{2}", r"$\boxed{0.5}$", 1),
        (r"\frac{1}{2}", r"$\boxed{\frac12}$", 1),
        (r"\frac{1}{2}", r"$\boxed{\dfrac{2}{4}}$", 1),
        (r"\frac{1}{2}", r"$\boxed{x = \frac{1}{2}}$", 1),
        (r"\frac{1}{2}", r"$\boxed{\frac{1}{3}}$", 0),
        (r"\frac{1}{2}", r"$\boxed{0.5004}$", 1),  # closer than 0.001
        (r"\frac{1}{2}", r"$\boxed{0.502}$", 0),
        ("(x-1) (x+2)", r"It is $\boxed{x^2 + x - 2}$.", 1),
        ("x^2", r"$\boxed{x^2 + C}$", 1),
        ("x^2", r"$\boxed{x^3 + C}$", 0),
        (["y", "x^2"], r"$\boxed{x^2}$", 1),
        ("12345", r"$\boxed{12,345}$", 1),
        ("7", "we find $y = 7$", 1),
        ("7", "<solution>7</solution>", 1),
        ("7", "7.", 1),
        ("7", "no idea", None),
        (r"\left(\begin{array}{cc}1 & 2\end{array}\right)", r"$\boxed{\left(\begin{array}{cc}1 & 2\end{array}\right)}$", 1),
        ("7", r"$\boxed{\sqrt{}{", None),
    ],
)
def test_expressions(truth: Any, answer: str, score: float | None) -> None:
    assert mathematics.expression(truth, answer) == score


def test_expressions_that_never_end_are_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    from components.benchmarks._livebench import _equal

    monkeypatch.setattr(_equal, "_SECONDS", 1)
    began = time.monotonic()
    assert not _equal.equal_expressions("(x+1)^{99999} (x+2)^{99999}", "(x^2+3x+2)^{99999}+1")
    assert time.monotonic() - began < _equal._PATIENCE


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<solution>yes, no, yes</solution>", 1),
        ("**yes, no, yes**", 1),
        ("**Yes**, then **no**, then **yes.**", 1),
        ("**no** and so **yes**, **no**, **yes**", 1),  # the last three
        ("**yes, no, no**", 0),
        (r"$\boxed{yes, no, yes}$", 1),
        ("So yes, no, yes is it.", 1),
        ("yes, no, yes or rather no, no, no", 0),
        ("</solution>yes, no, yes</solution>", 1),
        ("<solution>well: yes, no, yes</solution>", 1),
        ("<solution>yes, no, yes, no</solution>", 0),
        ("**Answer**", None),
        ("Nobody knows.", None),
    ],
)
def test_web_of_lies_v2(answer: str, score: float | None) -> None:
    assert reasoning.web_of_lies_v2("yes, no, yes", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<solution>yes, no, unknown, yes</solution>", 1),
        ("<solution>yes, no, unknown, no</solution>", 0.375),
        ("<solution>yes, no</solution>", 0.25),
        (r"$\boxed{yes, no, unknown, yes}$", 1),
        ("**yes, no, unknown, yes**", 0),  # bold isn't read, and the last three words of the plain text are no, unknown, yes
        ("none", None),
    ],
)
def test_web_of_lies_v3(answer: str, score: float | None) -> None:
    assert reasoning.web_of_lies_v3("yes, no, unknown, yes", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<solution>mystery, hip-hop, 3</solution>", 1),
        ("<solution>Mystery, Hip Hop, position 3</solution>", 1),
        ("<solution>mystery, jazz, 3</solution>", 1 / 3),
        ("<solution>mystery</solution>", 1 / 6),
        ("<solution>jazz</solution><solution>mystery</solution><solution>hip-hop</solution><solution>3</solution>", 1),
        (r"$\boxed{\text{mystery, hip-hop, 3}}$", 1),
        ("So:\nmystery, hip-hop, 3", 1),
        ("So:\nmystery, hip-hop", None),
        ("", None),
    ],
)
def test_zebra_puzzle(answer: str, score: float | None) -> None:
    assert reasoning.zebra_puzzle("mystery, hip-hop, 3", answer, "2024-11-25") == pytest.approx(score)


@pytest.mark.parametrize(
    ("truth", "answer", "score"),
    [
        ("two", "***2***", 1),
        ("two", "***two***", 1),
        ("two", "***three***", 0),
        ("action movies", "***action***", 1),
        ("two", "It is two", 1),
        ("two", "**two** or three", 0),
        ("two", "", None),
    ],
)
def test_zebra_puzzles_of_early_releases(truth: str, answer: str, score: float | None) -> None:
    assert reasoning.zebra_puzzle(truth, answer, "2024-06-24") == score


@pytest.mark.parametrize(
    ("truth", "answer", "score"),
    [
        ("4", "**4**", 1),
        ("4", "**Four**", 1),
        ("4", "**4**, **1**, **2**", 1),
        ("4", "**4**, **1**, **2**, **3**", 0),
        ("tetrahedra", "**two tetrahedra**", 1),
        ("triangle", "**circle square triangle triangle**", 0),
        ("4", r"$\boxed{\textbf{4}}$", 1),
        ("4", "4", 1),
        ("4", "about four", None),
    ],
)
def test_spatial(truth: str, answer: str, score: float | None) -> None:
    assert reasoning.spatial(truth, answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("**Ann Bob Cid**", 1),
        ("**Ann** **Bob** **Cid**", 1),
        ("**Ann, then Bob, then Cid**", 1),
        ("**Bob Ann Cid**", 0),
        ("**Ann Bob**", 0),
        ("Ann Bob Cid", None),
    ],
)
def test_house_traversal(answer: str, score: float | None) -> None:
    assert reasoning.house_traversal("Ann Bob Cid", answer) == score


WORDS = "a,b,c,d,e,f,g,h"


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<solution>d, c, b, a, H, g, f, e</solution>", 1),
        ("<solution>a,b,c,e,d,f,g,h</solution>", 0),
        ("<solution>e,f,g,h,a,b,c,x</solution>", 0.5),
        ("<solution>a,b,c,d,\ne,f,g,h</solution>", 1),
        ("<solution>x</solution><solution>a,b,c,d</solution><solution>e,f,g,h</solution>", 1),
        ("<solution>a,a,b,c,d,e,f,g,h</solution>", 1),  # a repeated word fills no place
        (r"$\boxed{\text{a,b,c,d,e,f,g,h}}$", 1),
        ("**a,b,c,d,e,f,g,h**", None),
    ],
)
def test_connections(answer: str, score: float | None) -> None:
    assert language.connections(WORDS, answer, "2024-11-25") == score


def test_connections_of_early_releases() -> None:
    assert language.connections(WORDS, "**a, b, c, d, e, f, g, x**", "2024-06-24") == 0.5
    assert language.connections(WORDS, "**x** and **d,c,b,a,e,f,g,h**", "2024-06-24") == 1
    assert language.connections(WORDS, "a,b,c,d,e,f,g,h", "2024-06-24") is None


PLOT = "A man wakes. He finds a map. He sails away. He is lost."


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (f"<PLOT_SUMMARY>{PLOT}</PLOT_SUMMARY>", 1),
        (f"Here it is. <PLOT_SUMMARY>{PLOT}", 1),
        ("A man wakes. He sails away. He finds a map. He is lost.", 0.5),
        ("A man wakes. He finds the map. He sails off. He is lost.", 1),  # matched with the likest sentence
        ("", None),
        ("...", None),
    ],
)
def test_plot_unscrambling(answer: str, score: float | None) -> None:
    assert language.plot(PLOT, answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("The cat sat.", 1),
        ("Here it is:\nThe cat\nsat.", 1),
        ("<solution>The cat sat.</solution> The rest.", 1),
        ("<solution>The cta sat.</solution> The cat sat.", 0),
        ("Well --- The cat sat. --- done", 1),
        ("the cat sat.", 0),
        ("", None),
    ],
)
def test_typos(answer: str, score: float | None) -> None:
    assert language.typos("The cat sat.", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Country Name", 1),
        ("country_name", 0),  # an underscore is part of a word
        ("The type is: country name.", 1),
        (r"\boxed{\text{Country Name}}", 1),
        ("country name of it", 0),
        ("...", None),
    ],
)
def test_column_types(answer: str, score: float | None) -> None:
    assert data_analysis.column_type("country-name", answer) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("```python\n{'a': 'x', 'b': 'y', 'c': 'z'}\n```", 1),
        ("{'a': 'x', 'b': 'y', 'c': 'z'}", 1),
        ('```json\n{"a": "x", "b": "y", "c": null}\n```', 0.8),
        ("{'a': 'x'}", 0.5),
        ("{'a': 'x', 'b': 'z', 'd': 'q'}", 0.33),  # one hit; two wrong; b and c missed
        ("{'q': 'r'}", 0),
        ("<solution>\n{'a': 'x', 'b': 'y', 'c': 'z'}\n</solution>", 1),
        (r"$\boxed{{\text{'a'}: \text{'x'}, \text{'b'}: \text{'y'}, \text{'c'}: \text{'z'}}}$", 1),
        ("{}", None),
        ("['a']", None),
        ("no map", None),
    ],
)
def test_table_join(answer: str, score: float | None) -> None:
    truth = "{'a': 'x', 'b': 'y', 'c': 'z'}"
    assert data_analysis.join(truth, answer) == score


OLD = "Please convert the Input Table from {} format to {} format. Please respond only with the table."
NEW = "Please convert.\nSource Format: {}\nTarget Format: {}\n"
CSV = "name,size\nann,1\nbob,2.5\n"


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "score"),
    [
        ("csv", CSV, CSV, 1),
        ("csv", CSV, f"```csv\n{CSV}```", 1),
        ("csv", CSV, "size,name\n1.0,ann\n2.5000000001,bob\n", 1),
        ("csv", CSV, "name,size\nann,1\nbob,2.6\n", 0),
        ("csv", CSV, "name,size\nann,1\n", 0),
        ("csv", CSV, f"Here is the table:\n{CSV}", 1),
        ("csv", CSV, f"Of course, gladly, as you wish.\n{CSV}", 1),
        ("csv", CSV, "name,height\nann,1\nbob,2.5\n", 0),
        ("tsv", CSV.replace(",", "\t"), CSV.replace(",", "\t"), 1),
        ("json", '{"0": {"a": 1, "b": "x"}}', '```json\n{"0": {"b": "x ", "a": 1.0}}\n```', 1),
        ("json", '{"0": {"a": 1, "b": "x"}}', '{"0": {"b": "y", "a": 1}}', 0),
        ("json", '{"0": {"a": 1}}', "not JSON", None),
        ("jsonl", '{"a": 1}\n{"a": 2}', '{"a": 1}\n{"a": 2}', 1),
        ("jsonl", '{"a": 1}\n{"a": 2}', 'So:\n{"a": 1}\n{"a": 2}\nDone.', 1),
        (
            "html",
            "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
            "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
            1,
        ),
        ("markdown", "| a | b |\n|---|---|\n| 1 | x |", "| a | b |\n|:--|--:|\n| 1 | x |", None),
    ],
)
@pytest.mark.parametrize("release", ["2024-06-24", "2025-04-25"])
def test_table_reformat(kind: str, truth: str, answer: str, score: float | None, release: str) -> None:
    question = (NEW if release >= "2025" else OLD).format("XML", kind.upper())
    found = data_analysis.reformat(truth, answer, question, release)
    if kind == "markdown":  # the old rule reads the line below the header as a row, so its dashes must be the same
        score = 1 if release >= "2025" else 0
    assert found == score


def test_thoughts_are_no_answer() -> None:
    assert answers.without_thoughts("<think>AAAA\n</think>\nBBBB") == "BBBB"
