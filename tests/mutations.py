"""Seeded mutations of files: of their bytes, and of what they hold."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as pack_safetensors

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**8, 2**63, 10**400, 0.5, -1e308, float("nan"), float("inf"),
    "", "x", "../../x", "\u202e\x1b[31m[/red]", "9" * 50, [], [[]], {}, {"x": 1}, [None], ["x", 1],
)  # fmt: skip
DTYPES = ("uint8", "int8", "uint16", "int64", "float16", "float32", "float64", "bool", "U4", "c8")


def mutate(path: Path, rng: np.random.Generator) -> str:
    """Change a file in a random way, and say how."""
    content = path.read_bytes()
    kinds = {".json": _json, ".jsonl": _lines, ".npz": _npz, ".safetensors": _tensors, ".pt": _pt}
    change = kinds[path.suffix] if rng.random() < 0.75 else _bytes
    changed, how = change(content, rng)
    path.write_bytes(changed)
    return f"{path.name}: {how}"


def _pick(rng: np.random.Generator, values: Any) -> Any:
    return list(values)[int(rng.integers(len(values)))]


def _bytes(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    place = int(rng.integers(len(content) + 1))
    end = place + int(rng.integers(1, 2 + len(content) // 2))
    kind = int(rng.integers(6))
    changed = bytearray(content)
    for _ in range(1 + int(rng.integers(4))):
        changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return [
        (b"", "empty"),
        (content[:place], f"cut at {place}"),
        (bytes(changed), "bits flipped"),
        (content[:place] + bytes(len(content[place:end])) + content[end:], f"zeros at {place}"),
        (content + content[place:end], "longer"),
        (rng.bytes(int(rng.integers(1, 200))), "noise"),
    ][kind]


def change_plain(value: Any, rng: np.random.Generator) -> str:
    """Change one entry of nested lists and dicts in place."""
    place = ""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            break
        key = _pick(rng, keys)
        place += f".{key}"
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.85:
            value = value[key]
            continue
        kind = int(rng.integers(5))
        if kind == 0:
            del value[key]
            return f"{place} deleted"
        if kind == 1 and isinstance(value, dict):
            value[f"{key}x"] = value[key]
            return f"{place} doubled"
        if kind == 1:
            value.append(value[key])
            return f"{place} doubled"
        value[key] = _pick(rng, VALUES)
        return f"{place} = {str(value[key])[:40]!r}"
    return "unchanged"


def _json(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    value = json.loads(content)
    kind = int(rng.integers(12))
    if kind == 0:
        return b"[" * 100_000, "deep"
    if kind == 1:
        return json.dumps(_pick(rng, VALUES)).encode(), "another value"
    how = change_plain(value, rng)
    return json.dumps(value).encode(), how


def _lines(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    lines = content.splitlines()
    place = int(rng.integers(len(lines)))
    lines[place], how = _json(lines[place], rng)
    return b"\n".join(lines) + b"\n", f"line {place}: {how}"


def change_array(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """An array of another type, shape or with other values."""
    kind = int(rng.integers(6))
    if kind == 0:
        dtype = _pick(rng, DTYPES)
        with np.errstate(all="ignore"):
            return np.zeros(values.shape, values.dtype).astype(dtype), f"{dtype}"
    if kind == 1:
        return values[..., None], "one more axis"
    if kind == 2:
        return values.reshape(-1)[: values.size // 2], "half, flat"
    if kind == 3 and values.ndim:
        return values[:0], "empty"
    if kind == 4 and values.ndim:
        return np.concatenate([values, values]), "doubled"
    changed = np.array(values)
    extremes = [0]
    if values.dtype.kind in "iu":
        extremes = [np.iinfo(values.dtype).min, np.iinfo(values.dtype).max]
    elif values.dtype.kind == "f":
        extremes = [np.nan, np.inf, -1.0, 1e30]
    if changed.size:
        changed.reshape(-1)[int(rng.integers(changed.size))] = _pick(rng, extremes)
    return changed, "an extreme value"


def _npz(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = _pick(rng, arrays)
    kind = int(rng.integers(8))
    if kind == 0:
        del arrays[name]
        how = f"{name} deleted"
    elif kind == 1:
        arrays[f"{name}x"] = arrays[name]
        how = f"{name} doubled"
    elif kind == 2:
        arrays[name] = np.array([{"an": "object"}], object)
        how = f"{name} of objects"
    else:
        arrays[name], how = change_array(arrays[name], rng)
        how = f"{name}: {how}"
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue(), how


def _change_tensors(state: dict[str, Any], rng: np.random.Generator) -> str:
    name = _pick(rng, state)
    kind = int(rng.integers(4))
    if kind == 0:
        del state[name]
        return f"{name} deleted"
    if kind == 1:
        state[f"{name}x"] = state[name].clone()
        return f"{name} doubled"
    changed, how = change_array(state[name].numpy(), rng)
    if changed.dtype.kind not in "Uc":
        state[name] = torch.from_numpy(np.ascontiguousarray(changed))
    return f"{name}: {how}"


def _tensors(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    state = parse_safetensors(content)
    how = _change_tensors(state, rng)
    return pack_safetensors(state), how


def _pt(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    plain = torch.load(io.BytesIO(content), weights_only=True)
    part = _pick(rng, ("model", "optimizer", "all"))
    if part == "model":
        how = _change_tensors(plain["model"], rng)
    else:
        how = change_plain(plain["optimizer"] if part == "optimizer" else plain, rng)
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue(), how
