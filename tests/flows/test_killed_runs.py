"""What a run that was killed leaves of itself, as the next one finds it."""

from __future__ import annotations

import json
from pathlib import Path

from components.settings import Settings
from flows.run import killed_runs


def test_a_note_that_a_full_disk_left_empty_stops_no_later_run(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for name, content in (("a", ""), ("b", json.dumps({"id": "b", "prefect": "1234"})), ("c", '{"id": "c", "pre')):
        (settings.runs / name).mkdir(parents=True)
        (settings.runs / name / "run.json").write_text(content)
    assert [found["id"] for found in killed_runs(settings, "d")] == ["b"]
