"""What a model folder says of its licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.models.licence import licence

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"README.md": "---\nlicense: apache-2.0\ntags: [x]\n---\n# A model\n"}, "apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: qwen-research\n---\n"}, "qwen-research"),
        ({"README.md": "---\nlicense: [mit, apache-2.0]\n---\n"}, "mit, apache-2.0"),
        ({"README.md": "# A model\nlicense: mit\n"}, None),
        ({"README.md": "---\n: [\n---\n"}, None),
        ({"README.md": "---\ntags: [x]\n---\n", "LICENSE": (ROOT / "LICENSE").read_text()}, "apache-2.0"),
        ({"LICENCE.txt": "\nLLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nmore"}, "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT"),
        ({"LICENSE": " \n"}, None),
        ({}, None),
    ],
)
def test_licence(tmp_path: Path, files: dict[str, str], found: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert licence(tmp_path) == found
