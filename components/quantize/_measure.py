"""What a quantized base costs: size, loss, KL and top-1 agreement against the original.

They are taken on the first ``SAMPLE`` rows of the ``heldout`` split, rendered as prompts, and of the ``sft`` split, rendered as
whole conversations; the model is quantized without calibration, so none leaks.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.artifacts import Inputs
from components.errors import InputError

SAMPLE = 64
SPLITS = ("sft", "heldout")


def refuse_quantized(folder: Path) -> None:
    """Rounding what is rounded already would lose twice.

    Raises:
        InputError: if the model in a folder is quantized.
    """
    from transformers import AutoConfig

    if getattr(AutoConfig.from_pretrained(folder, local_files_only=True), "quantization_config", None) is not None:
        raise InputError(f"model {folder} is quantized already; take out 'quantize:' or start from the full weights")


def measured(reference: Any, tokenizer: Any, model: Any, inputs: Inputs, target: Path) -> dict[str, Any]:
    """Metrics of a quantized model that was saved to ``target``."""
    from components.models.compare import compare

    found = asdict(compare(reference, model, _rows(tokenizer, inputs)))
    found.pop("tokens_equal")
    sizes = [sum(f.stat().st_size for f in place.glob("*.safetensors")) for place in (inputs.model.base, target)]
    return {"bytes_before": sizes[0], "bytes": sizes[1], **found}


def _rows(tokenizer: Any, inputs: Inputs) -> list[list[int]]:
    from components.models.probes import rendered

    if inputs.data is None:
        raise InputError("quantization is measured on a dataset version; add a data section")
    present = [inputs.data.splits[name] for name in SPLITS if name in inputs.data.splits]
    rows = [row for split in present for row in rendered(tokenizer, inputs.data.file(split.name), split.kind, SAMPLE)]
    if not rows:
        raise InputError(f"the dataset has neither of the splits {', '.join(SPLITS)}, on which quantization is measured")
    return rows
