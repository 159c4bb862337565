"""Checkpoints: a model folder that anything can load, plus what an exact resume needs.

``step-00000500/`` holds a Hugging Face model with its tokenizer, ``trainer/`` with the optimiser,
the counters and the random states, and ``manifest.json`` with the SHA-256 of each file. It is
written to a temporary sibling, synced and renamed, so a checkpoint is there whole or not at all.
Tensors are in safetensors; nothing is unpickled.
"""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from gptcore.errors import UserError
from gptcore.workspace import new_dir

MANIFEST = "manifest.json"


class TrainState(msgspec.Struct):
    """The counters of a training.

    Attributes:
        step: Optimiser steps done.
        tokens: Trained on.
        train_loss: Of the last step that was finite.
        val_loss: Of the last evaluation.
        best_val_loss: The lowest so far.
        best_step: Where it was.
        stale_evals: Evaluations since then.
        seconds: Spent in training steps.
        scaler: State of the fp16 loss scaler.
    """

    step: int = 0
    tokens: int = 0
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int = 0
    stale_evals: int = 0
    seconds: float = 0.0
    scaler: dict[str, Any] = {}


class RandomState(msgspec.Struct):
    """All generators of one process: torch's as bytes, Python's and NumPy's as their integers."""

    cpu: bytes
    cuda: bytes
    python: tuple[int, list[int], float | None]
    numpy: tuple[str, list[int], int, int, float]


def random_state(device: torch.device) -> RandomState:
    """The state of every generator of this process."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0)
    return RandomState(
        cpu=torch.get_rng_state().numpy().tobytes(),
        cuda=cuda.to(torch.uint8).numpy().tobytes(),
        python=(version, list(internal), gauss),
        numpy=(str(name), [int(k) for k in keys], int(position), int(has_gauss), float(cached)),
    )


def restore_random_state(state: RandomState, device: torch.device) -> None:
    """Put every generator of this process back."""
    torch.set_rng_state(torch.frombuffer(bytearray(state.cpu), dtype=torch.uint8))
    if state.cuda and device.type == "cuda":
        raw = torch.frombuffer(bytearray(state.cuda), dtype=torch.uint8)
        torch.cuda.set_rng_state(raw, device)
    version, internal, gauss = state.python
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state.numpy
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def save_checkpoint(
    folder: Path,
    state: TrainState,
    *,
    write_model: Callable[[Path], None],
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    random_states: list[RandomState],
) -> Path:
    """Publish a checkpoint of `state.step` under `folder`.

    Args:
        folder: Where the checkpoints of the training lie.
        state: Its counters.
        write_model: Puts model and tokenizer into the folder it is given.
        parameters: What the optimiser changes, by name.
        optimizer: Its moments.
        random_states: Of every process, by rank.

    Returns:
        The new checkpoint.
    """
    final = folder / f"step-{state.step:08d}"
    if final.exists():
        if defect(final) is None:
            return final
        shutil.rmtree(final)
    with new_dir(final) as temporary:
        write_model(temporary)
        trainer = temporary / "trainer"
        trainer.mkdir()
        save_file(dict(_moments(parameters, optimizer)), trainer / "optimizer.safetensors")
        (trainer / "state.json").write_bytes(msgspec.json.encode(state))
        (trainer / "random.json").write_bytes(msgspec.json.encode(random_states))
        manifest = {str(path.relative_to(temporary)): _sha256(path) for path in _files(temporary)}
        (temporary / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return final


def load_training(
    checkpoint: Path,
    *,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    device: torch.device,
) -> TrainState:
    """Put the optimiser back; the weights are the trainee's to load.

    Raises:
        UserError: The files cannot be read.
    """
    trainer = checkpoint / "trainer"
    try:
        tensors = load_file(trainer / "optimizer.safetensors", device=str(device))
        state = msgspec.json.decode((trainer / "state.json").read_bytes(), type=TrainState)
    except (OSError, SafetensorError, msgspec.DecodeError) as error:
        raise _unusable(checkpoint, error) from error
    for name, parameter in parameters.items():
        moments = {key: tensors.get(f"{name}.{key}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if moments["step"] is not None:  # none yet where every step so far was left out
            optimizer.state[parameter] = moments
    return state


def load_random_state(checkpoint: Path, rank: int, device: torch.device) -> None:
    """Put the random states of a process back.

    With more processes than at saving, those without a state keep their own.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        raw = (checkpoint / "trainer" / "random.json").read_bytes()
        randoms = msgspec.json.decode(raw, type=list[RandomState])
    except (OSError, msgspec.DecodeError) as error:
        raise _unusable(checkpoint, error) from error
    if rank < len(randoms):
        restore_random_state(randoms[rank], device)


def _unusable(checkpoint: Path, error: Exception) -> UserError:
    return UserError(f"the checkpoint cannot be resumed from: {error}", where=str(checkpoint))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, the newest first, verified or not."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name[5:])


def defect(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, by its manifest; None for nothing."""
    try:
        manifest = msgspec.json.decode((checkpoint / MANIFEST).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        return f"its manifest cannot be read ({error})"
    for name, digest in manifest.items():
        try:
            if _sha256(checkpoint / name) != digest:
                return f"{name} is damaged"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def newest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and what was wrong with those passed over."""
    passed_over: list[str] = []
    for checkpoint in checkpoints(folder):
        wrong = defect(checkpoint)
        if wrong is None:
            return checkpoint, passed_over
        passed_over.append(f"{checkpoint.name} was passed over: {wrong}")
    return None, passed_over


def prune(folder: Path, *, keep: int, best_step: int) -> None:
    """Remove all but the newest `keep` checkpoints and that of `best_step`."""
    for checkpoint in checkpoints(folder)[keep:]:
        if step_of(checkpoint) != best_step:
            shutil.rmtree(checkpoint, ignore_errors=True)


def clear(folder: Path) -> int:
    """Remove the checkpoints of an earlier training; how many there were."""
    found = checkpoints(folder)
    for checkpoint in found:
        shutil.rmtree(checkpoint)
    return len(found)


def _moments(
    parameters: Mapping[str, nn.Parameter], optimizer: Optimizer
) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in parameters.items():
        moments: Mapping[str, Tensor] = optimizer.state[parameter]
        for key, value in moments.items():
            yield f"{name}.{key}", value.detach().contiguous()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
