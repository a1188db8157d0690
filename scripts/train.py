"""Teach a MAGREF checkpoint your own subjects: a LoRA, or all of its weights.

python scripts/train.py --dit FILE --samples DIR --out DIR                 a LoRA of rank 16, 1000 steps
python scripts/train.py --dit FILE --samples DIR --out DIR --full          all weights
python scripts/train.py --dit FILE --samples DIR --out DIR --resume        go on after a stop

The samples come from scripts/encode_samples.py. Ctrl-C stops after the step and keeps all that was learnt.
The folder gets lora.safetensors, for ComfyUI's LoRA loader, or dit.safetensors, and the state, the
configuration, a log and its curves. Any Python with ComfyUI's packages will do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.training.stopping import stop_on_signals

if TYPE_CHECKING:
    import torch

    from magref_core.training.config import TrainConfig
    from magref_core.training.trainer import Progress

# What needs torch is imported where it is used, so that --help needs none.


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dit",
        metavar="FILE",
        type=Path,
        required=True,
        help=".safetensors, or the index of a sharded model",
    )
    parser.add_argument(
        "--samples",
        metavar="DIR",
        type=Path,
        nargs="+",
        required=True,
        help="made by encode_samples.py; several are mixed in proportion to their samples",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--config", metavar="FILE", type=Path, help="JSON such as the config.json of a run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--rank", type=int, metavar="N", help="of the LoRA (16)")
    kind.add_argument("--full", action="store_true", help="train all weights instead of a LoRA")
    parser.add_argument("--targets", metavar="REGEX", help="paths of the layers that get a LoRA")
    parser.add_argument("--start-lora", metavar="FILE", type=Path, help="begin with the weights of this LoRA")
    parser.add_argument("--steps", type=int, metavar="N", help="(1000)")
    parser.add_argument("--batch", type=int, metavar="N", help="samples per step (1)")
    parser.add_argument("--rate", type=float, metavar="X", help="learning rate (2e-4, or 1e-5 with --full)")
    parser.add_argument(
        "--drop-references", type=float, metavar="X", help="share of samples without references (0.1)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of all draws (0)")
    parser.add_argument(
        "--adapter-steps", type=int, metavar="N", help="at first train only what reads the image encoder (0)"
    )
    parser.add_argument(
        "--checkpointing", action="store_true", default=None, help="less memory, a third more time"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1 (cuda where there is one)")
    parser.add_argument("--save-minutes", type=float, default=5.0, metavar="N", help="between states (5)")
    return parser.parse_args(words)


def choose_config(arguments: argparse.Namespace, device: torch.device) -> TrainConfig:
    """The configuration of a new run, or of the one to go on with.

    Raises:
        MagrefError: a file or value cannot be used.
    """
    from dataclasses import replace

    from magref_core.training.config import TrainConfig, read_config
    from magref_core.training.trainer import CONFIG_FILE
    from scripts.training.user_runs import FULL_RUN, LORA_RUN, change_config

    if arguments.config is not None:
        config = read_config(TrainConfig, arguments.config)
    elif arguments.resume:
        config = read_config(TrainConfig, arguments.out / CONFIG_FILE)
    else:
        config = FULL_RUN if arguments.full else LORA_RUN
        # A frozen bfloat16 model computes as when it is used; float32 weights need autocast to be fast.
        has_autocast = device.type == "cuda" and arguments.full
        config = replace(config, precision="bfloat16" if has_autocast else "float32")
    config = replace(config, lora=None) if arguments.full else config
    return change_config(config, read_changes(arguments))


def read_changes(arguments: argparse.Namespace):
    """What the command line says otherwise than the configuration."""
    from scripts.training.user_runs import Changes

    return Changes(
        steps=arguments.steps,
        batch_size=arguments.batch,
        rate=arguments.rate,
        drop_references=arguments.drop_references,
        seed=arguments.seed,
        rank=arguments.rank,
        targets=arguments.targets,
        adapter_steps=arguments.adapter_steps,
        gradient_checkpointing=arguments.checkpointing,
    )


def choose_device(name: str | None) -> torch.device:
    """The device by its name, or the best there is.

    Raises:
        TrainingError: there is no such device.
    """
    import torch

    from magref_core.training.files import TrainingError

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # both are PyTorch's words for it
        raise TrainingError(
            f"the device '{name}' cannot be used here: give cpu, or leave --device out"
        ) from error
    return device


def train(arguments: argparse.Namespace) -> Path:
    """Train, or go on, and write the result.

    Returns:
        The file with the result.

    Raises:
        MagrefError: something that is given cannot be used, or the training fails.
    """
    import torch

    from magref_core.training.files import TrainingError
    from magref_core.training.trainer import STATE_FILE, Hooks, Trainer
    from scripts.training import user_runs

    has_state = (arguments.out / STATE_FILE).exists()
    if has_state and not arguments.resume:
        raise TrainingError(f"{arguments.out} holds a run already: add --resume, or choose another folder")
    if arguments.resume and arguments.start_lora is not None:
        raise TrainingError(
            "--resume goes on with the run's own LoRA: leave --start-lora out, or start a new run"
        )
    if arguments.resume and not has_state:
        raise TrainingError(f"{arguments.out} holds no run to go on with: leave --resume out")
    device = choose_device(arguments.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    config = choose_config(arguments, device)
    user_runs.check_base(arguments.out, arguments.dit)
    models = user_runs.load_models(arguments.dit, arguments.samples[0], config, device)
    dataset, models = user_runs.load_samples(arguments.samples, models, label=arguments.dit.name)
    trainer = Trainer(models, dataset, config, arguments.out)
    if arguments.resume:
        trainer.resume(new_schedule=user_runs.has_new_schedule(read_changes(arguments)))
    elif arguments.start_lora is not None:
        user_runs.restore_lora(trainer, arguments.start_lora)
    millions = sum(weight.numel() for weight in trainer.weights.values()) / 1e6
    print(f"{len(dataset)} samples; {millions:.2f} million weights on {device}, from step {trainer.step}")

    def on_save(_step: int) -> None:
        if config.lora is not None:  # small: whoever wants to look at it meanwhile can
            user_runs.export(trainer, arguments.dit)

    with stop_on_signals() as stopped:
        trainer.train(
            Hooks(
                should_stop=lambda: bool(stopped),
                on_report=print_progress,
                on_save=on_save,
                report_seconds=10.0,
                save_seconds=60 * arguments.save_minutes,
            )
        )
    if trainer.step < config.steps:
        print(f"stopped after step {trainer.step} of {config.steps}; --resume goes on")
    return user_runs.export(trainer, arguments.dit)


def print_progress(progress: Progress) -> None:
    """Say where the run stands."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    left = f"{minutes}:{seconds:02} left"
    print(f"step {progress.step} of {progress.num_steps}, loss {progress.loss:.4f}, {left}", flush=True)


def main() -> None:
    """Train on the command line's word."""
    arguments = read_arguments()
    try:
        from magref_core.errors import MagrefError
    except ImportError as error:
        raise SystemExit(
            f"error: this Python lacks {error.name}: use ComfyUI's, which `python scripts/host.py path` names"
        ) from error
    try:
        print(f"saved {train(arguments).resolve()}")
    except MagrefError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None


if __name__ == "__main__":
    main()
