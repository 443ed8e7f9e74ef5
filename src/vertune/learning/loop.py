"""The training loop for every task and method; independent of how models are stored and used.

All random numbers depend only on the seed and on the number of the step or epoch, so a checkpoint contains no random
state. A training run that resumes from a checkpoint ends with the same weights as one without interruption: on a CPU,
bit for bit.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.batching.batches import epoch
from vertune.core.config import Config
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Method
from vertune.learning import checkpoint, clock, optimiser, team
from vertune.learning.cache import TRIED, CachedStates
from vertune.learning.checkpoint import Position, Tensors
from vertune.learning.defaults import Rates
from vertune.learning.examples import visits
from vertune.learning.gradients import StepGradients
from vertune.learning.memory import give_back
from vertune.learning.training_input import TrainingInput
from vertune.nn.build import trainable
from vertune.nn.dropout import use_fast_dropout
from vertune.nn.run import tensors
from vertune.nn.structure import lowest, quiet_below
from vertune.nn.vertical import VerticalModel

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True)
class Plan:
    """How a training run is done, decided before its first step: the method, the learning rates and the number of steps."""

    method: Method
    rates: Rates
    steps: int
    epochs: float
    seconds: float | None = None
    """Time limit in seconds, for the case that training is slower than planned; None sets no limit."""


@dataclass(slots=True)
class LoopResult:
    """The progress and speed of a finished training run.

    The model then has the weights with the best validation score, or the last weights if it was never evaluated.
    """

    position: Position
    steps: int
    examples_per_second: float
    late: bool = False
    """Whether the time limit ended the training before its last step."""
    earlier: float = 0.0
    """Seconds that earlier processes had trained before this one resumed; 0 if there is no time limit, which alone counts them."""


def steps_of(config: Config, rows: int, epochs: float) -> int:
    """Return the number of optimiser steps in `epochs` epochs (may be a fraction) over `rows` records; at least 1."""
    return max(1, math.ceil(epochs * math.ceil(rows / config.training.batch)))


def run_loop(model: VerticalModel, plan: Plan, lesson: TrainingInput) -> LoopResult:
    """Train a model in place; if the folder `lesson.folder` contains a checkpoint, resume from it.

    The method's `prepare` must have been called before, to mark the weights to train.
    """
    training = _Training(model, plan, lesson)
    training.resume()
    return training.run()


class _Training:
    """A training run in progress: the model, its optimiser, and how far the run has come."""

    def __init__(self, model: VerticalModel, plan: Plan, lesson: TrainingInput) -> None:
        self.model, self.plan, self.lesson = model, plan, lesson
        self.config = lesson.config
        self.accelerator = accelerator(self.config)
        self.model.to(self.accelerator.device)
        use_fast_dropout(model)
        self.parameters = trainable(model)
        if not self.parameters:
            raise ModelError(
                f"The method '{plan.method.name}' makes no parameter of this model trainable. Choose another method, such as lora or full."
            )
        half = self.accelerator.scaler is not None  # with float16, one optimiser must unscale all gradients
        self.rows = None if half else optimiser.embedding_rows(model, self.config.training.optimiser, plan.rates)
        self.optimiser = self.accelerator.prepare_optimizer(
            optimiser.build(model, self.config.training.optimiser, plan.rates, self.rows), device_placement=False
        )
        self.depth = lowest(model)
        if self.config.device.checkpoint_gradients:
            _recompute(model.backbone)
        self.gradients = StepGradients.of(model, lesson, self.accelerator, self._checked(lesson.below))
        self._check_memory()
        self.position = Position()
        self.best: Tensors = {}
        self.loss = math.nan
        self.seen = 0
        self._epoch: list[NDArray[np.int64]] = []
        self._first = self._number = 0

    def _checked(self, below: CachedStates | None) -> CachedStates | None:
        """Return the cached hidden states `below` if training may start from them, else None.

        They may be used if they replace only layers that are not trained, and if the model has the same outputs with
        them as without.
        """
        if below is None or below.trunk.depth > self.depth:
            return None
        features = self.lesson.examples.features[:TRIED]
        return below if below.trunk.works(tensors(self.lesson.encoder.collate(features), self.accelerator.device)) else None

    def _check_memory(self) -> None:
        """Report a warning if training can't keep to the memory limit, even with one model input per pass."""
        memory, costs = self.gradients.memory, self.lesson.examples.costs
        least = memory.peak([[int(costs.argmax())]], costs)
        if least > memory.allowed:
            self.lesson.progress(
                "warning",
                message=f"Training needs about {least / 1e9:.1f} GB, but device.memory allows {memory.allowed / 1e9:.1f} GB; "
                f"the weights and the process alone take {memory.fixed / 1e9:.1f} GB. Choose method lora or top_layers, a smaller base "
                "or encoder.max_tokens, or raise device.memory.",
            )

    def resume(self) -> None:
        """Load weights, optimiser state and progress from the last checkpoint, if there is one."""
        found = checkpoint.load(self.lesson.folder) if self.lesson.folder else None
        if found is None:
            return
        self.position, stored, extra = found
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(stored["weights"][name])
        checkpoint.restore_state(self.optimiser, stored.get("optimiser", {}), extra["optimiser"])
        self.plan.method.restore(self.model, stored.get("method", {}))
        if self.rows:
            self.rows.restore(stored["rows"])
        self.best = stored.get("best", {})
        self.lesson.progress("resumed", step=self.position.step, steps=self.plan.steps)

    def run(self) -> LoopResult:
        """Do the remaining steps, evaluating and saving checkpoints in between; at the end, restore the best weights."""
        started, before, began = clock.now(), self.position.seconds, time.monotonic()
        saved, first = began, self.position.step
        every = self._evaluation_steps()
        while self.position.step < self.plan.steps and not self._is_late() and not self._is_stale():
            self._step()
            if self.plan.seconds is not None:  # the clock reads a file for each thread
                self.position.seconds = before + clock.now() - started
            now = time.monotonic()
            self._report(now - began, self.position.step - first)
            if self.lesson.score and (self.position.step % every == 0 or self.position.step == self.plan.steps):
                self._evaluate()
            if self.lesson.folder and now - saved >= self.config.training.checkpoint:
                self._save()
                saved = time.monotonic()
        late = self.position.step < self.plan.steps and not self._is_stale()
        if late and self.lesson.score and self.position.step % every:
            self._evaluate()  # the last weights may be better than those of an earlier evaluation
        self._take_best()
        give_back()
        seconds = time.monotonic() - began
        return LoopResult(self.position, self.position.step, self.seen / max(seconds, 1e-9), late, before)

    def _is_late(self) -> bool:
        """Return whether the time limit has passed."""
        limit = self.plan.seconds
        return limit is not None and team.leader_value(self.accelerator, self.position.seconds) > limit

    def _is_stale(self) -> bool:
        """Return whether the last `training.patience` evaluations brought no improvement, so that training stops."""
        return bool(self.config.training.patience and self.position.stale >= self.config.training.patience)

    def _evaluation_steps(self) -> int:
        """Return the number of steps from one evaluation on the validation records to the next.

        It is larger than the number of all steps if there are no evaluations.
        """
        wanted = self.config.training.evaluations * self.plan.epochs
        return max(1, math.ceil(self.plan.steps / wanted)) if wanted and self.lesson.score else self.plan.steps + 1

    def _rows(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the records to train on in a step; steps are counted from 0 over all epochs.

        The records of an epoch are divided into batches when its first step is reached. After a resume, this is
        repeated for all earlier epochs to find out which epoch the step belongs to.
        """
        while step >= self._first + len(self._epoch):
            self._first += len(self._epoch)
            self._epoch = self._batches(self._number)
            self._number += 1
        return self._epoch[step - self._first]

    def _batches(self, number: int) -> list[NDArray[np.int64]]:
        """Divide the records of the epoch `number` into random batches; return the record indices of each batch."""
        examples, training = self.lesson.examples, self.config.training
        rows = visits(examples, (self.config.seed, number))
        costs = examples.row_costs[rows]
        if self.gradients.joint:
            costs = np.zeros_like(costs)  # in-batch negatives must not be recognisable by similar length
        return [rows[batch] for batch in epoch(costs, training.batch, training.window, (self.config.seed, number, 1))]

    def _step(self) -> None:
        """Do one optimiser step; its gradients are accumulated over micro-batches that fit in memory."""
        step, examples = self.position.step, self.lesson.examples
        torch.manual_seed(_mix(self.config.seed, step, self.accelerator.process_index))
        self.model.train()
        quiet_below(self.model, self.depth)
        rows = self._rows(step)
        features = examples.rows_of(rows)
        with self._gathered(features):
            self.loss = self._gradients(features)
            self._move(step)
        if not math.isfinite(self.loss):
            raise ModelError(
                f"The loss is {self.loss} at step {step}; expected a finite number. Training has diverged. Lower the learning rate "
                f"training.optimiser.rate (now {self.plan.rates.body:g}), or check the records for extreme values."
            )
        self.seen += len(rows)
        self.position.step += 1

    def _gathered(self, features: NDArray[np.int64]) -> AbstractContextManager[Any]:
        """Return a context in which the model reads word embeddings from a small table with only the rows that this step needs.

        `features` contains the indices of the step's model inputs. All processes have the same small table; see
        `EmbeddingRows`. If sparse AdamW is not used, the context does nothing.
        """
        if self.rows is None:
            return nullcontext()
        inputs = self.lesson.encoder.collate([self.lesson.examples.features[feature] for feature in features])
        return self.rows.gathered(torch.from_numpy(inputs[str(self.lesson.encoder.input_names.sequence)]))

    def _gradients(self, features: NDArray[np.int64]) -> float:
        """Compute the gradient of the mean loss over all records of a step; return this mean loss.

        `features` contains the indices of the step's model inputs. If several processes train together, they divide
        these inputs, and each of them gets the gradient for all inputs.
        """
        loss = self.gradients.add(features, self.gradients.total(features))
        own = self.plan.method.penalty(self.model)
        for penalty in [*([] if own is None else [own]), *(term(self.model) for term in self.lesson.penalties)]:
            self.accelerator.backward(penalty / self.accelerator.num_processes)
        self._sum_gradients()
        return float(self.accelerator.reduce(loss, "sum"))

    def _move(self, step: int) -> None:
        """Finish an optimiser step: clip the gradients, set the learning rate, and update the weights."""
        options = self.config.training.optimiser
        self.plan.method.after_backward(self.model, step)
        if options.clip:
            self.accelerator.clip_grad_norm_(self._moving(), options.clip)
        optimiser.set_rate(self.optimiser, self.rows, optimiser.factor(options.schedule, options.warmup, step, self.plan.steps))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.rows:
            self.rows.step()

    def _moving(self) -> list[torch.Tensor]:
        """Return the tensors that this step updates.

        These are all trainable parameters. With sparse AdamW, the table of word embeddings is replaced by the small
        table of the rows that the step uses.
        """
        table = self.rows.module.weight if self.rows else None
        return [*(item for item in self.parameters.values() if item is not table), *([self.rows.rows] if self.rows else [])]

    def _sum_gradients(self) -> None:
        """Add up the gradients of all processes.

        Each process has divided its loss by the total weight of the model inputs of all processes. The sum is therefore
        the gradient of the mean loss.
        """
        if self.accelerator.num_processes == 1:
            return
        for parameter in self._moving():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self.accelerator.reduce(parameter.grad, "sum")

    def _report(self, seconds: float, steps: int) -> None:
        """Report the event `step`, with the loss, the speed and the estimated remaining time.

        `seconds` and `steps` are the time and the steps since this process started training; those before a resume are
        not included.
        """
        left = (self.plan.steps - self.position.step) * seconds / max(1, steps)
        self.lesson.progress(
            "step",
            step=self.position.step,
            steps=self.plan.steps,
            loss=round(self.loss, 5),
            rate=self.optimiser.param_groups[0]["lr"],
            examples_per_second=round(self.seen / max(seconds, 1e-9), 1),
            seconds_left=round(left, 1),
        )

    def _evaluate(self) -> None:
        """Compute the score on the validation records; if no earlier one is higher, keep a copy of the weights."""
        assert self.lesson.score is not None
        value = team.leader_value(self.accelerator, self.lesson.score())
        position = self.position
        if position.best is None or value >= position.best:
            position.best, position.best_step, position.stale = value, position.step, 0
            self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        else:
            position.stale += 1
        self.lesson.progress("evaluated", step=position.step, steps=self.plan.steps, metric=value, name=self.lesson.task.goal)

    def _take_best(self) -> None:
        """Restore the weights that had the best validation score, if any, and set the model to evaluation mode."""
        with torch.no_grad():
            for name, value in self.best.items():
                self.parameters[name].copy_(value)
        self.model.eval()

    def _save(self) -> None:
        """Write a checkpoint; in a distributed training, only the main process writes it."""
        if not self.accelerator.is_main_process or self.lesson.folder is None:
            return
        state, plain = checkpoint.flat_state(self.optimiser)
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        stored = {"weights": weights, "optimiser": state, "method": self.plan.method.state(self.model), "best": self.best}
        if self.rows:
            stored["rows"] = self.rows.state()
        checkpoint.save(self.lesson.folder, self.position, stored, {"optimiser": plain})
        self.lesson.progress("checkpoint", step=self.position.step)


def _recompute(backbone: torch.nn.Module) -> None:
    """Turn on gradient checkpointing, which recomputes activations in the backward pass to save memory.

    Raise ConfigError if the base model does not support it.
    """
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # the second is the older name
    enable: Any = next((getattr(backbone, name) for name in names if hasattr(backbone, name)), None)
    try:
        if enable is None:
            raise ValueError("the model has no method to turn gradient checkpointing on")
        enable({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(
            f"The base model {type(backbone).__name__} does not support gradient checkpointing: {error}. "
            "Set device.checkpoint_gradients: false."
        ) from error


def accelerator(config: Config) -> Accelerator:
    """Return Accelerate's `Accelerator` for this machine, with the configured precision.

    `device.precision: auto` is bfloat16 if the hardware supports it, else float32.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    wanted = config.device.precision
    if wanted == "auto":
        wanted = "bfloat16" if fast_bfloat16() else "float32"
    names: dict[str, Any] = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
    AcceleratorState._reset_state()  # one process may train several times in different precisions
    return Accelerator(mixed_precision=names[wanted], cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available())


def fast_bfloat16() -> bool:
    """Return whether to train in bfloat16: on a GPU or CPU that has instructions for it.

    A GPU that torch lets emulate bfloat16 does not count, because it is slower than in float32. A CPU needs AVX-512 BF16.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def _mix(*numbers: int) -> int:
    """Derive one random seed from several numbers, such as the configured seed and the number of the step."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
