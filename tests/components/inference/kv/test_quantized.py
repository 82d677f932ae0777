"""The quantized cache: codes, real bytes, and tokens that wait in full precision."""

from __future__ import annotations

import pytest
import torch

from components.errors import InputError
from components.inference.kv.quantized import Config, bits, decode, encode, storage


@pytest.mark.parametrize("width", [8, 4, 2])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("size", [32, 7])
def test_codes_are_within_half_a_step(width: int, dim: int, size: int) -> None:
    states = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 5 + 2
    packed, scale, offset = encode(states, width, dim)
    assert packed.dtype == torch.uint8
    assert packed.shape[dim] == -(-size * width // 8)
    step = (states.amax(dim, keepdim=True) - states.amin(dim, keepdim=True)) / (2**width - 1)
    error = (decode((packed, scale, offset), width, dim, size) - states).abs()
    assert (error <= step * 0.51 + 0.02).all()
    assert error.max() > step.min() * 0.1 or width == 8


def test_constant_states_survive() -> None:
    states = torch.full((1, 1, 32, 8), 3.0)
    assert torch.equal(decode(encode(states, 4, 2), 4, 2, 32), states)


def test_layer_holds_groups_in_codes_and_the_rest_in_full() -> None:
    layer = storage(Config(ratio=0.6, group=32))
    keys, values = torch.randn(2, 2, 70, 16), torch.randn(2, 2, 70, 16)
    first = layer.update(keys, values)
    assert torch.equal(first[0], keys)  # the prompt's own attention is exact
    more = torch.randn(2, 2, 1, 16), torch.randn(2, 2, 1, 16)
    after = layer.update(*more)
    assert layer.get_seq_length() == 71
    assert after[0].shape[2] == 71
    assert torch.equal(after[1][:, :, 64:], torch.cat([values[:, :, 64:], more[1]], 2))
    assert 0 < (after[0][:, :, :64] - keys[:, :, :64]).abs().max() < 0.05
    # 64 tokens of 16 one-byte codes each; a scale and an offset a channel and group, and a token; 7 tokens of 2 × 64 bytes.
    assert layer.width == 8
    assert layer.nbytes == 4 * (64 * 16 * 2 + 2 * 16 * 4 + 64 * 4 + 7 * 16 * 4 * 2)
    layer.batch_select_indices(torch.tensor([1]))
    again = layer.update(more[0][1:], more[1][1:])
    assert torch.equal(again[0][:, :, :71], after[0][1:])


def test_ratio_decides_the_bits() -> None:
    widths = [bits(Config(ratio=r), 64, 64, 4) for r in (0, 0.25, 0.7, 0.75, 0.85, 0.9)]
    assert widths == [None, 8, 8, 4, 4, 2]
    assert [bits(Config(ratio=r), 64, 64, 2) for r in (0.25, 0.5, 0.75)] == [8, 4, 2]
    with pytest.raises(InputError, match=r"ratio=0.95 is more than a quantized cache can save.*2 bits save 0.91"):
        bits(Config(ratio=0.95), 64, 64, 4)
