"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864): how fast each pair of dimensions turns, and what stretching
the context does to that.

Pair i turns by ``inverse frequency`` radians a token; its wavelength is 2π over that, in tokens. A pair whose wavelength is
longer than the trained context never made a whole turn in training, which is why models fail beyond it. The ways out are
transformers' own functions (``ROPE_INIT_FUNCTIONS``): ``linear`` interpolation slows every pair alike; ``dynamic`` NTK raises
the base with the length; ``yarn`` (arXiv 2309.00071) leaves fast pairs alone, slows slow ones, and sharpens attention by
``attention_factor``; ``llama3`` does the first two with a smooth passage.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from math import pi
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig

if TYPE_CHECKING:
    from rich.console import RenderableType

Scaling = Literal["linear", "dynamic", "yarn", "llama3"]


class Config(ViewConfig):
    """Settings of the RoPE view.

    Attributes:
        factor: how many times longer the context should become.
        scalings: ways to get there.
        length: tokens that ``dynamic`` is computed for; None for ``factor`` times the trained context.
        low_freq_factor, high_freq_factor: ``llama3``: pairs that turn less often than the first in the trained context are
            slowed, those that turn more often than the second aren't.
        beta_fast, beta_slow: the same of ``yarn``: turns in the trained context above and below.
    """

    needs_prompt: ClassVar[bool] = False
    method: Literal["rope"] = "rope"
    factor: float = Field(4.0, ge=1)
    scalings: tuple[Scaling, ...] = ("linear", "dynamic", "yarn", "llama3")
    length: int | None = Field(None, ge=1)
    low_freq_factor: float = Field(1.0, gt=0)
    high_freq_factor: float = Field(4.0, gt=0)
    beta_fast: float = Field(32.0, gt=0)
    beta_slow: float = Field(1.0, gt=0)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt | None) -> Document:
    """One row a pair of dimensions: inverse frequency (radians a token) of ``model`` as it runs, ``default`` without any
    scaling, and of each scaling; ``wavelength`` (tokens) and ``turns`` in the trained context, both without scaling.

    ``facts`` holds the model's own scaling, all attention factors, and by how much the model's frequencies differ from
    transformers' function for its configuration.

    Raises:
        InputError: if the model has no rotary embedding, or one for each kind of layer.
    """
    from components.inspect._anatomy import dissect
    from components.inspect._text import listed

    anatomy = dissect(model)
    rotary = getattr(anatomy.decoder, "rotary_emb", None)
    own = getattr(anatomy.config, "rope_parameters", None)
    if rotary is None or not own or "rope_type" not in own or not hasattr(rotary, "inv_freq"):
        raise InputError(f"{type(anatomy.model).__name__} has no rotary embedding that all its layers share")
    trained = int(own.get("original_max_position_embeddings") or anatomy.config.max_position_embeddings)
    length = config.length or round(trained * config.factor)
    default, _ = _frequencies(anatomy, {"rope_type": "default"}, trained)
    expected, _ = _frequencies(anatomy, dict(own), trained)
    original = getattr(rotary, "original_inv_freq", rotary.inv_freq).float()
    columns = {
        "pair": list(range(len(default))),
        "wavelength": listed(2 * pi / default),
        "turns": listed(trained * default / (2 * pi)),
        "model": listed(original, 7),
        "default": listed(default, 7),
    }
    factors = {"model": float(rotary.attention_scaling), "default": 1.0}
    for name in config.scalings:
        frequencies, factors[name] = _frequencies(anatomy, _parameters(config, name, trained), trained, length)
        columns[name] = listed(frequencies, 7)
    facts = {
        "theta": float(own["rope_theta"]),
        "rope_type": own["rope_type"],
        "parameters": {key: value for key, value in own.items() if isinstance(value, (str, int, float, list))},
        "dimensions": 2 * len(default),
        "trained_context": trained,
        "max_context": anatomy.config.max_position_embeddings,
        "length": length,
        "attention_factor": {name: float(value) for name, value in factors.items()},
        "difference": float(((original - expected) / expected).abs().max()),
    }
    odd = "the model's frequencies aren't those of its configuration: it computes them in its own way"
    notes = (odd,) if facts["difference"] > 1e-4 else ()
    return Document("rope", config.model_dump(mode="json"), facts, columns, notes)


def _parameters(config: Config, scaling: Scaling, trained: int) -> dict[str, Any]:
    found: dict[str, Any] = {"rope_type": scaling, "factor": config.factor}
    if scaling in ("yarn", "llama3"):
        found["original_max_position_embeddings"] = trained
    if scaling == "yarn":
        found |= {"beta_fast": config.beta_fast, "beta_slow": config.beta_slow}
    if scaling == "llama3":
        found |= {"low_freq_factor": config.low_freq_factor, "high_freq_factor": config.high_freq_factor}
    return found


def _frequencies(anatomy: Any, parameters: dict[str, Any], trained: int, length: int | None = None) -> tuple[Any, float]:
    """(inverse frequencies, attention factor) by transformers' function, for a copy of the model's configuration."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = deepcopy(anatomy.config)
    kept = {k: config.rope_parameters[k] for k in ("rope_theta", "partial_rotary_factor") if k in config.rope_parameters}
    config.rope_parameters = kept | parameters
    if getattr(config, "head_dim", 0) is None:  # Mixtral's; some of transformers' functions don't expect that
        config.head_dim = config.hidden_size // config.num_attention_heads
    if parameters["rope_type"] == "dynamic":
        config.max_position_embeddings = trained
    if parameters["rope_type"] == "default":
        found, factor = anatomy.decoder.rotary_emb.compute_default_rope_parameters(config)
    else:
        found, factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, None, seq_len=length)
    return found.float().to(anatomy.decoder.rotary_emb.inv_freq.device), factor


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """Wavelengths before and after by pair, at most 32 of them; then the attention factors."""
    from components.inspect._text import table

    facts, rows = document.facts, list(document.rows)
    scalings = ["model", *document.settings["scalings"]]
    step = -(-len(rows) // 32)
    body = [
        (row["pair"], row["wavelength"], f"{row['turns']:.2f}", *(2 * pi / row[name] for name in scalings)) for row in rows[::step]
    ]
    title = (
        f"Wavelength of each pair of dimensions in tokens: θ={facts['theta']:g}, trained for {facts['trained_context']} tokens, "
        f"stretched {document.settings['factor']:g} times"
    )
    yield table(title, ("pair", "unscaled", "turns in context", *scalings), body)
    yield "attention factor: " + ", ".join(f"{name} {value:.4g}" for name, value in facts["attention_factor"].items())
