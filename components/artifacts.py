"""What stages hand each other: small frozen records of paths, digests and ids. Never live models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

SplitName = Literal["corpus", "sft", "preference", "labelled", "prompts", "heldout"]
RecordKind = Literal["text", "sft", "preference", "labelled", "prompts"]


@dataclass(frozen=True)
class Split:
    """One file of a dataset version: ``<name>.jsonl``, one JSON object a line."""

    name: SplitName
    kind: RecordKind
    rows: int
    sha256: str


@dataclass(frozen=True)
class DatasetRef:
    """One dataset version.

    Attributes:
        path: folder with ``dataset.json`` and one ``<split>.jsonl`` for each split.
        md5: DVC's md5 of the folder (``….dir``), which ``data.dvc`` names.
        repository: git or DVC workspace that tracks it.
        revision: git revision of the repository when it was read, or None outside git.
    """

    path: Path
    md5: str
    splits: dict[str, Split]
    repository: Path
    revision: str | None

    def file(self, split: str) -> Path:
        """The split's JSONL file."""
        return self.path / f"{split}.jsonl"


@dataclass(frozen=True)
class Sealed:
    """A finished stage's output: a folder that nobody writes into again.

    Attributes:
        digest: sha256 over names and contents of all files outside ``log/``; equal outputs have equal digests.
        metrics: the content of ``metrics.json``, if the stage wrote one.
    """

    stage: str
    method: str
    key: str
    path: Path
    digest: str
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRef:
    """A model as files: full weights in Hugging Face layout, and an adapter on top of them or none.

    Attributes:
        base: folder with config, safetensors, tokenizer and chat template (possibly quantized).
        adapter: folder with ``adapter_model.safetensors`` and ``adapter_config.json``.
        digest: sha256 that changes when either of them does.
    """

    base: Path
    adapter: Path | None
    digest: str


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval and the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class BenchmarkRef:
    """One version of a benchmark's stored data: a folder below the home, see ``components.data.benchmarks``.

    Attributes:
        md5: DVC's md5 of the folder (``….dir``).
        judge: digest of the model on this machine that judges the answers, if one does.
    """

    name: str
    path: Path
    md5: str
    judge: str = ""


@dataclass(frozen=True)
class LayerChoice:
    """Bits and LoRA rank of each decoder layer, as a search chose them.

    Attributes:
        ranks: 0 for a layer without an adapter.
        digest: of the search's sealed output.
    """

    bits: tuple[int, ...]
    ranks: tuple[int, ...]
    digest: str


@dataclass(frozen=True)
class Inputs:
    """What a stage function gets: the dataset version, models by role (``model`` is what it starts from), benchmarks by name.

    Attributes:
        work: folder for what a benchmark keeps until the stage is done.
        choice: what a search chose for each layer, if there was one.
    """

    data: DatasetRef | None
    models: dict[str, ModelRef]
    benchmarks: dict[str, BenchmarkRef] = field(default_factory=dict)
    work: Path | None = None
    choice: LayerChoice | None = None

    @property
    def model(self) -> ModelRef:
        """The model that the stage starts from."""
        return self.models["model"]

    def split(self, name: str) -> Path:
        """The file of a split that the stage can't do without."""
        if self.data is None or name not in self.data.splits:
            have = sorted(self.data.splits) if self.data else []
            from components.errors import InputError

            raise InputError(f"the dataset has no split {name!r}, only {', '.join(have) or 'none'}; add it to the data section")
        return self.data.file(name)

    def kept(self, label: str) -> Path:
        """The file in which a benchmark keeps what its judge said."""
        if self.work is None:
            raise ValueError("a judged benchmark is measured inside a stage, which says where to keep what the judge said")
        return self.work / f"{label}-judged.jsonl"

    def benchmark(self, name: str) -> BenchmarkRef:
        """The stored data of a benchmark that the stage measures."""
        if name not in self.benchmarks:
            from components.errors import InputError

            raise InputError(f"benchmark {name!r} has no data here; import it: `lapidar data benchmark {name} --from PATH`")
        return self.benchmarks[name]
