"""ΔW of one adapted module and its singular values; see ``components.inspect.adapter`` for the definitions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import InputError

_RANK = 1e-6
"""Singular values below this share of the largest are rounding."""


@dataclass(frozen=True)
class Spectrum:
    """The first singular values of a matrix [out, in] with their directions.

    Attributes:
        left: [out, n]; right: [in, n]; values: [n], the largest first.
        frobenius: norm of the whole matrix, exact.
        whole: whether there are no more singular values.
        estimated: whether they come from a randomised decomposition.
    """

    left: Any
    values: Any
    right: Any
    frobenius: float
    whole: bool
    estimated: bool


def adapted(model: Any) -> tuple[dict[str, Any], str]:
    """(LoRA layers by module name in the base model, name of the active adapter).

    Raises:
        InputError: if there are none, or they are merged.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    if not isinstance(model, PeftModel):
        raise InputError("this model has no adapter; give one with --adapter FOLDER, or a registered version that has one")
    name = model.active_adapter
    found = {n: m for n, m in model.get_base_model().named_modules() if isinstance(m, LoraLayer) and name in m.lora_A}
    if not found:
        raise InputError(
            f"the adapter {name!r} isn't a LoRA of linear layers ({model.peft_config[name].peft_type}); its ΔW isn't known"
        )
    if any(layer.merged for layer in found.values()):
        raise InputError("the adapter is merged into its base; unmerge it (model.unmerge_adapter()) to look at it")
    return found, name


def measure(model: Any, module: str, layer: Any, name: str, directions: int, values: int, exact_up_to: int) -> dict[str, Any]:
    """Everything that the view says about one module."""
    from components.inspect._text import listed

    residual = _weights(layer)
    base = _original(model, module, name, residual)
    change = _change(layer, name, base, residual, exact_up_to, max(directions, values))
    frobenius, spectral = change.frobenius, float(change.values[0])
    share = change.values / change.values.sum() if spectral else change.values
    found: dict[str, Any] = {
        "out": layer.out_features,
        "in": layer.in_features,
        "r": layer.r[name],
        "scaling": layer.scaling[name],
        "frobenius": frobenius,
        "spectral": spectral,
        "singular_values": listed(change.values[:values]),
        "effective_rank": _effective_rank(share) if change.whole else None,
        "stable_rank": frobenius**2 / spectral**2 if spectral else 0.0,
    }
    if base is None:
        names = ("base_frobenius", "base_spectral", "relative_frobenius", "relative_spectral")
        blank = dict.fromkeys([*names, *(f"{side}_{what}" for side in ("left", "right") for what in ("overlap", "chance"))])
        return found | blank | {"estimated": change.estimated}
    spectrum = decompose(base, directions, exact_up_to)
    found |= {"base_frobenius": spectrum.frobenius, "base_spectral": float(spectrum.values[0])}
    found |= {f"relative_{key}": found[key] / found[f"base_{key}"] or 0.0 for key in ("frobenius", "spectral")}
    for side in ("left", "right"):
        found |= _overlap(side, change, spectrum, directions)
    return found | {"estimated": change.estimated or spectrum.estimated}


def decompose(matrix: Any, count: int, exact_up_to: int) -> Spectrum:
    """The first ``count`` or more singular values of a dense matrix."""
    import torch

    frobenius = float(torch.linalg.matrix_norm(matrix))
    if min(matrix.shape) <= exact_up_to:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return Spectrum(left, values, right.mT, frobenius, True, False)
    with torch.random.fork_rng([matrix.device] if matrix.device.type == "cuda" else []):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(matrix, q=min(2 * count + 8, *matrix.shape), niter=6)
    return Spectrum(left[:, :count], values[:count], right[:, :count], frobenius, False, True)


def product(left: Any, right: Any) -> Spectrum:
    """Singular values of ``left @ right`` ([out, r] times [r, in]) from its factors: the product is never formed."""
    import torch

    q_left, r_left = torch.linalg.qr(left)
    q_right, r_right = torch.linalg.qr(right.mT)
    u, values, v = torch.linalg.svd(r_left @ r_right.mT, full_matrices=False)
    return Spectrum(q_left @ u, values, q_right @ v.mT, float(values.norm()), True, False)


def _change(layer: Any, name: str, base: Any, residual: Any, exact_up_to: int, count: int) -> Spectrum:
    """ΔW against ``base``; ``residual`` is what the adapter is added to, the same unless PiSSA split it."""
    left, right = layer.lora_B[name].weight.double() * layer.scaling[name], layer.lora_A[name].weight.double()
    magnitude = getattr(layer, "lora_magnitude_vector", {})
    dora = name in magnitude
    if not dora and (base is None or base is residual or residual is None):
        return product(left, right)
    if residual is None or base is None:
        raise InputError("DoRA scales the base's weights, and those of this base can't be read as numbers; use its full weights")
    weight = residual + left @ right
    if dora:
        weight = weight * (magnitude[name].weight.double().reshape(-1) / weight.norm(dim=1))[:, None]
    return decompose(weight - base, count, exact_up_to)


def _weights(layer: Any) -> Any:
    """float64 weights [out, in] that the adapter is added to, dequantized; None if they can't be read as numbers."""
    from peft.utils.integrations import dequantize_module_weight

    module = layer.get_base_layer()
    if getattr(module, "weight", None) is None:
        return None
    weight = dequantize_module_weight(module)
    if not weight.is_floating_point():
        return None
    weight = weight.T if layer.fan_in_fan_out else weight
    return weight.double() if weight.shape == (layer.out_features, layer.in_features) else None


def _original(model: Any, module: str, name: str, residual: Any) -> Any:
    """The weights before anything was trained. PiSSA took its first directions out of them, so they are read from the file.

    Raises:
        InputError: if PiSSA's base can't be found.
    """
    if not str(model.peft_config[name].init_lora_weights).startswith("pissa"):
        return residual
    from safetensors import safe_open

    folder = Path(getattr(model.get_base_model(), "name_or_path", ""))
    key = f"{module}.weight"
    for file in sorted(folder.glob("*.safetensors")) if str(folder) != "." else ():
        with safe_open(str(file), "pt") as tensors:
            if key in tensors.keys():  # noqa: SIM118 (not a dictionary)
                return tensors.get_tensor(key).to(residual.device).double()
    raise InputError(
        f"PiSSA split {module} from its base, and the base's {key} isn't in {folder}; load the adapter over that folder"
    )


def _effective_rank(share: Any) -> float:
    import torch

    return float(torch.exp(-torch.xlogy(share, share).sum())) if float(share.sum()) else 0.0


def _overlap(side: str, change: Spectrum, base: Spectrum, directions: int) -> dict[str, Any]:
    """φ(i, j): i is ``directions`` or the rank of the change, whichever is less; None where nothing changed."""
    i = min(directions, int((change.values > _RANK * change.values[0]).sum())) if float(change.values[0]) else 0
    j = min(directions, len(base.values))
    first, second = getattr(change, side)[:, :i], getattr(base, side)[:, :j]
    value = float((first.mT @ second).square().sum()) / min(i, j) if i else None
    return {f"{side}_overlap": value, f"{side}_chance": max(i, j) / len(first)}
