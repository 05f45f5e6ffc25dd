"""Folders of BitNet, and of Llama with its layers, against transformers on the same weights.

Its layers are put in, and packed by its own functions, as they are when it opens such a folder.

Two comparisons. The first is of the weights: without the rounding of activations, both are the
same formula in float64, but for transformers' norms and rotary angles in float32 and the factors
that the file holds as float32 (measured: up to 1e-6 of the logits' deviation). What is unpacked
wrong is off by the deviation itself.

The second is of what people run: transformers rounds a token's activations to 127 steps of the
largest of them, the kernel to as many of the largest of 256. A step is never larger, so the kernel
may be no farther from unrounded numbers than transformers is, in the mean of all logits; 1.3 times
as far is allowed for the chance in either (measured: 0.93 to 0.97).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.reference import ReferenceEngine
from mlr_build.convert_hf import convert_folder
from mlr_build.progress import open_progress
from tests.support.kernels import every_logits, open_kernel
from tests.support.tensors import read_tensors
from tests.support.tiny_bitnet import INNER, VOCABULARY, WIDTH, bitnet_files

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch.compile's own
]

Logits = NDArray[np.float64]

TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, VOCABULARY, 40)]
EXACT, KERNEL = 1e-5, 1.3
KINDS: dict[str, dict[str, Any]] = {
    "multiplied": {"linear_class": "autobitlinear", "quantization_mode": "offline"},
    "divided": {"linear_class": "bitlinear", "quantization_mode": "offline"},
    "rounded": {"linear_class": "autobitlinear", "quantization_mode": "online"},
}


def folder_and_module(folder: Path, model: str, kind: str) -> Any:
    """Write the folder; gives the module with its linear layers replaced, in float64."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    safetensors = pytest.importorskip("safetensors.torch")
    from transformers.integrations import bitnet

    torch.compiler.set_stance("force_eager")
    options = KINDS[kind]
    bitnet_files(folder, llama=model == "Llama", **options)
    config = getattr(transformers, f"{model}Config").from_pretrained(folder)
    config.quantization_config = None
    assert (config.hidden_size, config.intermediate_size) == (WIDTH, INNER)
    module = getattr(transformers, f"{model}ForCausalLM")(config).double().eval()
    generator = torch.Generator().manual_seed(5)
    random: dict[str, Any] = {}
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
            large = value.shape[-1] ** -0.5
            noise = noise * large if value.dim() > 1 else noise * 0.2 + 1
            random[name] = noise.bfloat16().float()
            value.copy_(random[name])
    random.pop("lm_head.weight", None)
    settings = transformers.BitNetQuantConfig(**options)
    bitnet.replace_with_bitnet_linear(module, ["lm_head"], settings)
    stored = {name: value.bfloat16() for name, value in random.items()}
    for name, layer in module.named_modules():
        if not isinstance(layer, (bitnet.BitLinear, bitnet.AutoBitLinear)):
            continue
        weight = random[f"{name}.weight"]
        if kind == "rounded":
            layer.weight = torch.nn.Parameter(weight.double(), requires_grad=False)
            continue
        mean = weight.abs().mean().bfloat16()
        codes = (weight / mean).round().clamp(-1, 1)
        packed = bitnet.pack_weights(codes.clone())
        scale = (1 / mean if kind == "divided" else mean).reshape(1)
        stored |= {f"{name}.weight": packed, f"{name}.weight_scale": scale}
        unpacked = bitnet.unpack_weights(packed, torch.float64)
        assert torch.equal(unpacked, codes.double())
        layer.weight = packed if kind == "divided" else torch.nn.Parameter(unpacked)
        layer.weight_scale = scale.double()
        layer.dtype = torch.float64
    safetensors.save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return module


def logits(module: Any) -> Logits:
    import torch

    with torch.no_grad():
        found: Logits = module(input_ids=torch.tensor([TOKENS])).logits[0].numpy()
    return found


def rms(x: Logits) -> float:
    return float(np.sqrt(np.mean(x * x)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["BitNet", "Llama"])
def test_same_numbers(
    model: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = folder_and_module(tmp_path / "m", model, kind)
    from transformers.integrations import bitnet

    theirs = logits(module)
    # Without rounding activations; BitLinear divides by the scale that it rounded them with.
    monkeypatch.setattr(bitnet.ActQuant, "apply", lambda activations: activations)
    monkeypatch.setattr(bitnet.BitLinear, "activation_quant", lambda _, x: (x, 1.0))
    unrounded = logits(module)
    deviation = unrounded.std()
    assert deviation > 0.05
    assert np.abs(theirs - unrounded).max() > 1e-3 * deviation

    path = tmp_path / "m.gguf"
    convert_folder(tmp_path / "m", path, "f32", open_progress())
    exact = ReferenceEngine.from_tensors(*read_tensors(path), len(TOKENS), "float64")
    assert np.abs(exact.evaluate_all(TOKENS) - unrounded).max() < EXACT * deviation
    with open_kernel(path, context_length=len(TOKENS)) as kernel:
        ours = every_logits(kernel, TOKENS)
    assert rms(ours - unrounded) < KERNEL * rms(theirs - unrounded)
