"""Train the network that tells whether a place of a frame shows a subject, for MAGREF Subject Report.

python scripts/train_halves.py [--frames 4000] [--epochs 10]

Draws frames of the world, puts places of them beside pictures of puppets, learns which halves are the same,
measures on frames of another seed, and writes `magref_core/evaluation/halves.safetensors`. Takes about ten
minutes of one core. Afterwards: python scripts/bench.py subject_report --fit
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.host import use_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from torch import Tensor

FIRST_SEED = 5_000_000
"""Neither the cases of the benchmark nor the training of the model draw from these seeds."""
HELD_OUT = 0.06
"""Share of the frames that is measured and not learned."""
BATCH = 128
RATE = 3e-3


def draw(frames: int, seed: int) -> tuple[Tensor, Tensor]:
    """(P, 7, 48, 48) in 0..255 and (P, 2) of `half_pairs.draw_pairs`."""
    import numpy as np
    import torch

    from scripts.training.half_pairs import draw_pairs

    pairs, truth = [], []
    for number in range(frames):
        drawn, right = draw_pairs(np.random.default_rng((FIRST_SEED, seed, number)))
        pairs += drawn
        truth += right
        if number % 250 == 249:
            print(f"{number + 1} of {frames} frames, {len(pairs)} pairs", flush=True)
    return torch.from_numpy(np.stack(pairs)), torch.tensor(truth)


def learn(pairs: Tensor, truth: Tensor, epochs: int) -> object:
    """A network that was trained on the pairs, mirrored and in exchanged colours at random."""
    import torch
    import torch.nn.functional as F

    from magref_core.evaluation.halves import HalfComparer

    torch.manual_seed(0)
    network = HalfComparer()
    steps = epochs * (len(pairs) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    known = torch.isfinite(truth)
    right = torch.nan_to_num(truth)
    for epoch in range(epochs):
        total, started = 0.0, time.process_time()
        for chosen in torch.randperm(len(pairs))[: len(pairs) // BATCH * BATCH].split(BATCH):
            batch = pairs[chosen].float() / 255
            if torch.rand(()) < 0.5:
                batch = batch.flip(3)
            if torch.rand(()) < 0.5:
                order = torch.randperm(3)
                batch = torch.cat([batch[:, order], batch[:, 3 + order], batch[:, 6:]], 1)
            losses = F.binary_cross_entropy_with_logits(network(batch), right[chosen], reduction="none")
            loss = losses[known[chosen]].mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss) * BATCH / len(pairs)
        print(f"epoch {epoch + 1} of {epochs}: loss {total:.4f}, {time.process_time() - started:.0f} s")
        sys.stdout.flush()
    return network.eval()


def measure(network: object, pairs: Tensor, truth: Tensor) -> dict[str, float]:
    """How many halves are told rightly, by what they are."""
    import torch

    with torch.inference_mode():
        told = torch.cat([network(part.float() / 255) for part in pairs.split(512)])  # pyright: ignore[reportCallIssue]
    is_right = (told > 0) == (truth > 0.5)
    kinds = {
        "same": (truth == 1).all(1),
        "half the same": (truth.sum(1) == 1),
        "others": (truth == 0).all(1),
    }
    return {name: float(is_right[chosen].float().mean()) for name, chosen in kinds.items()}


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=4000, help="frames that are drawn")
    parser.add_argument("--epochs", type=int, default=10, help="how often all pairs are shown")
    parser.add_argument("--seed", type=int, default=0, help="of the frames")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        use_host_python()
    import safetensors.torch
    import torch

    from magref_core.evaluation.halves import WEIGHTS

    torch.set_num_threads(1)
    pairs, truth = draw(arguments.frames, arguments.seed)
    held = round(len(pairs) * HELD_OUT)
    network = learn(pairs[held:], truth[held:], arguments.epochs)
    found = measure(network, pairs[:held], truth[:held])
    told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    print(f"right on {held} pairs that were not learned: {told}")
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}  # pyright: ignore[reportAttributeAccessIssue]
    described = {"frames": str(arguments.frames), "epochs": str(arguments.epochs), "right": told}
    safetensors.torch.save_file(state, WEIGHTS, metadata=described)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
