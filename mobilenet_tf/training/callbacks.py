"""What happens around the steps and epochs of a stage."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import tensorflow as tf

from mobilenet_tf.training.inputs import Inputs, sync_with_statistics
from mobilenet_tf.training.rows import Bar, Rows
from mobilenet_tf.training.state import State
from mobilenet_tf.training.trainer import Trainer
from mobilenet_tf.utils.errors import UserError

LOSS_CHECK_STEPS = 20  # between checks of the loss, each of which waits for the device
MAX_PRINTED_LOSSES = 5


class FiniteLoss(keras.callbacks.Callback):
    """Stops the run at a loss that is not finite, a few steps after it at the latest and before the next checkpoint."""

    async_safe = True  # Keras else waits for the device after every step, to hand the logs over

    def __init__(self, state: State):
        super().__init__()
        self.state = state

    def on_train_batch_end(self, batch, logs=None):
        """Checks the losses every LOSS_CHECK_STEPS steps."""
        if (batch + 1) % LOSS_CHECK_STEPS == 0:
            self.check()

    def on_epoch_end(self, epoch, logs=None):
        """Checks the losses before the epoch's checkpoint is written."""
        self.check()

    def check(self) -> None:
        """Raises UserError with the step and the losses before it."""
        losses = cast(Trainer, self.model).losses_so_far()
        bad = next((i for i, (_, loss) in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is None:
            return
        progress, (step, loss) = self.state.progress, losses[bad]
        last = ", ".join(f"{value:.4g}" for _, value in losses[:bad][-MAX_PRINTED_LOSSES:])
        raise UserError(
            f"the loss became {loss} at step {step} of stage {progress.stage + 1} (epoch {progress.epoch + 1}); "
            f"the last losses were: {last or 'none'}. Lower train.stages.{progress.stage}.learning_rate or set "
            "train.clip_norm; the last checkpoint is kept"
        )


class Steps(keras.callbacks.Callback):
    """Shows how far an epoch is, in a terminal."""

    async_safe = True  # as FiniteLoss

    def __init__(self, bar: Bar, rows: Rows):
        super().__init__()
        self.bar, self.rows = bar, rows

    def on_epoch_begin(self, epoch, logs=None):
        """Draws the bar."""
        self.bar.start(f"epoch {epoch + 1}/{self.rows.epochs}", cast(dict[str, Any], self.params)["steps"])

    def on_train_batch_end(self, batch, logs=None):
        """Counts a step."""
        self.bar.advance()

    def on_epoch_end(self, epoch, logs=None):
        """Removes the bar."""
        self.bar.close()


class AfterEpoch(keras.callbacks.Callback):
    """Evaluates, keeps the best model, writes the checkpoint and the logs.

    Args:
        total: the optimizer steps of the stage; after the last of them it always evaluates.
        save_model: writes the serving model to a path.
        rows: what makes the line that is printed for an epoch; None: none is.
    """

    def __init__(
        self, state: State, inputs: Inputs, total: int, save_model: Callable[[Path], None], rows: Rows | None = None
    ):
        super().__init__()
        self.rows = rows
        self.state, self.inputs, self.total, self.save_model = state, inputs, total, save_model
        self.writer: Any = None  # of TensorBoard's events, from the first of them on
        self.has_summaries = True

    def on_epoch_begin(self, epoch, logs=None):
        """Takes the time at which the epoch begins."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Evaluates where it is due, then writes the best model, the checkpoint and the logs."""
        state, progress, train = self.state, self.state.progress, self.state.task.cfg.train
        logs = {} if logs is None else logs
        optimizer = cast(keras.Model, self.model).optimizer
        rate = float(optimizer.learning_rate)
        progress.seconds += time.perf_counter() - self.started
        progress.epoch, progress.stage_epoch = epoch + 1, progress.stage_epoch + 1
        steps = cast(dict[str, Any], self.params)["steps"]
        progress.step += steps
        progress.images += min(steps * train.batch_size, self.inputs.count)
        row = {"epoch": progress.epoch, "stage": progress.stage + 1, "loss": logs["loss"], "learning_rate": rate}
        if progress.stage_epoch % train.evaluate_every == 0 or progress.step >= self.total:
            sync_with_statistics(state, self.inputs)
            scores = {f"val_{key}": value for key, value in self.inputs.validate().items() if key != "count"}
            logs.update(scores)
            row |= scores
            self.keep_best(scores)
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        progress.history.append(row)
        state.save(optimizer)
        self.write_summaries(row)
        if self.rows:
            print(self.rows.row(row, steps, progress.best_epoch == progress.epoch), flush=True)
        patience, is_out = train.patience, cast(keras.Model, self.model).stop_training
        if is_out and patience and progress.wait >= patience:
            print(f"no better {state.task.monitor[0]} in {patience} evaluations: the stage ends here")

    def write_summaries(self, row: dict[str, Any]) -> None:
        """Writes a row of the log for TensorBoard. A full disk ends that, not the run."""
        if not self.has_summaries:
            return
        try:
            self.writer = self.writer or tf.summary.create_file_writer(str(self.state.folder.tensorboard))
            with self.writer.as_default(step=row["epoch"]):
                for key, value in row.items():
                    tf.summary.scalar(key, value)
            self.writer.flush()
        except (tf.errors.OpError, OSError) as error:
            self.has_summaries = False
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"{self.state.folder.tensorboard} gets no more events: {reason}", stacklevel=2)

    def keep_best(self, scores: dict[str, float]) -> None:
        """Saves the model where it is the best so far, and ends the stage where the patience is out."""
        progress, (name, mode) = self.state.progress, self.state.task.monitor
        value = scores[f"val_{name}"]
        sign = 1 if mode == "max" else -1
        if not _better(progress.best, value, sign):  # of equals the one that was trained longer
            self.save_model(self.state.folder.best_checkpoint)
            progress.best, progress.best_epoch = value, progress.epoch
        if _better(value, progress.stage_best, sign):  # a stage may begin below the end of the one before it
            progress.stage_best, progress.wait = value, 0
        else:
            progress.wait += 1
            patience = self.state.task.cfg.train.patience
            if patience and progress.wait >= patience:
                cast(keras.Model, self.model).stop_training = True


def _better(value: float | None, than: float | None, sign: int) -> bool:
    """Whether a score is above another one; any number is above none and NaN."""
    if value is None or math.isnan(value):
        return False
    return than is None or math.isnan(than) or sign * value > sign * than
