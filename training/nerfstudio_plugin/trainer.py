"""nerfstudio's trainer with atomic checkpoints, one-sentence errors and a closing report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from render.errors import InputError
from render.files import atomic_file
from render.rasterizer.threads import kernels_alone_on_all_threads

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Bad input ends the program with its sentence on stderr, without a traceback."""
    try:
        yield
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_BAD_INPUT) from error


@dataclass
class Fit3DTrainerConfig(TrainerConfig):
    """The settings of a training run."""

    _target: type = field(default_factory=lambda: Fit3DTrainer)

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep the run's own viewer host where ``ns-viewer`` would open the viewer to the whole network."""
        if name == "viewer" and name in self.__dict__ and value.websocket_host == ViewerConfig().websocket_host:
            value = replace(value, websocket_host=self.viewer.websocket_host)
        super().__setattr__(name, value)


class Fit3DTrainer(Trainer):
    """Trains, and says at the end how good and how long; see the module."""

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Set up; bad input ends the program with its sentence and exit code 2."""
        with _one_sentence():
            super().setup(*args, **kwargs)

    def train(self) -> None:
        """Train; Ctrl-C ends the program with a sentence, the last checkpoint stays whole."""
        try:
            with _one_sentence(), kernels_alone_on_all_threads():
                super().train()
        except KeyboardInterrupt:
            if self.training_state == "completed":
                raise SystemExit(0) from None
            sys.stderr.write(
                f"Stopped at step {self.step}; go on from the last checkpoint, if there is one, with "
                f"--load-dir {self.checkpoint_dir}\n"
            )
            raise SystemExit(EXIT_INTERRUPTED) from None

    def train_iteration(self, step: int) -> Any:
        """One step; the clock starts after the first, which compiles."""
        result = super().train_iteration(step)
        if step == self._start_step:
            self._started = (time.perf_counter(), time.process_time())
        return result

    def save_checkpoint(self, step: int) -> None:
        """Write the checkpoint beside the old one, then replace it: a crash leaves the old one."""
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.optimizers.items()},
            "schedulers": {name: s.state_dict() for name, s in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        with atomic_file(path) as temporary:
            torch.save(state, temporary)
        if self.config.save_only_latest_checkpoint:
            for old in self.checkpoint_dir.glob("step-*.ckpt"):
                if old != path:
                    old.unlink()

    def _after_train(self) -> None:
        if hasattr(self, "_started"):
            wall, cpu = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
            steps = self.step - self._start_step
            CONSOLE.log(f"{steps} steps took {wall:.1f} s ({cpu:.1f} s of CPU), start-up and compilation apart.")
        if self.pipeline.datamanager.eval_dataset:
            with self.train_lock:
                metrics = self.pipeline.get_average_eval_image_metrics(step=self.step)
            shown = ", ".join(
                f"{name} {metrics[name]:.4g}"
                for name in ("psnr", "ssim", "lpips", "feature_l1", "feature_l1_of_mean")
                if name in metrics
            )
            CONSOLE.log(f"Held-out photos: {shown}; {self.pipeline.model.num_points} Gaussians.")
        super()._after_train()
