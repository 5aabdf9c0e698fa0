"""A search without training: measure the damage of a reduction, then spend the budget where it hurts least.

1. *Profile.* D_j(f) says how far the outputs of the fine-tuned model move when only encoder j eliminates, down to the
   fraction f of each example's own length (all later encoders then have those rows only); N_j(k) and H_j(h), when only
   encoder j is narrowed, to k neurons or h heads, and what the others contributed is rebuilt (`search.rebuilding`).
2. *Allocate.* Dynamic programming finds the reduction of least predicted damage in the budget (`search.allocation`).
   The damages of rows and widths were measured one by one and add up differently, so it is asked with several weights
   of one against the other, and the answer of least measured damage is taken.
3. *Refine.* Small exchanges between encoders and dimensions, each measured on the same examples, keep what lowers the
   true damage (the evolutionary search of Length-Adaptive Transformer, arXiv 2010.07003, from a good start).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from keras import ops

from powerbert_tf.common.reporting import open_bar
from powerbert_tf.data.kinds import Kind
from powerbert_tf.data.metrics import divergence
from powerbert_tf.elimination.extract import Extract
from powerbert_tf.elimination.reduction import DIMENSIONS, WIDTHS, Reduction
from powerbert_tf.elimination.retention import CLS_ALONE, round_up
from powerbert_tf.latency.costs import Costs, fit_to_budget
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.encoder import EncoderBlock
from powerbert_tf.search.allocation import Profile, Widths, allocate
from powerbert_tf.search.rebuilding import RebuiltWidths, rebuild_in_sequence

_PROFILED = (0.03, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8)  # fractions of rows that are measured
_PROFILED_WIDTHS = {"neurons": (0.125, 0.25, 0.5, 0.75), "heads": (0.25, 0.5, 0.75)}  # parts of the widest, the same
_DEARNESS = (0.3, 1.0, 3.0)  # of widths against rows: weights that the allocation is asked with
_REFINEMENTS = 30
_REFINEMENTS_OF_WIDTHS = 20  # fewer, as they start from the best of several allocations, and each takes longer
_ROOM = 1.02  # by which a reduction that eliminates nothing may be too fast before it is widened


class Calibration:
    """The search on one model. It measures the profile once, for all budgets.

    Args:
        model: The fine-tuned classifier.
        batches: Inputs of the calibration examples, arrays `[B, T]` by name.
        kind: What the logits mean.
        selection: Name of the score that ranks word-vectors.
        seed: Seed of the refinement.
        rebuilt: The widths of the model, rebuilt from other examples; None to search over rows alone.
        dimensions: What is searched over: `"rows"`, `"neurons"`, `"heads"`; the last two need `rebuilt`.
    """

    def __init__(
        self,
        model: BertClassifier,
        batches: Sequence[dict[str, np.ndarray]],
        kind: Kind,
        selection: str = "attention",
        seed: int = 0,
        rebuilt: RebuiltWidths | None = None,
        dimensions: Sequence[str] = DIMENSIONS,
    ):
        self.model = model if rebuilt is None else rebuilt.model
        self.batches = batches
        self.kind = kind
        self.selection = selection
        self.seed = seed
        self.rebuilt = rebuilt
        self.eliminates = "rows" in dimensions
        self.widths = Widths.of(model.config, () if rebuilt is None else dimensions)
        self.full = self._logits(Reduction((1.0,) * len(model.encoders)))
        self._damages: dict[Reduction, float] = {}
        self._profile: Profile | None = None

    def damage(self, reduction: Reduction) -> float:
        """Measures the damage of a reduction, once."""
        if reduction not in self._damages:
            self._damages[reduction] = divergence(self.full, self._logits(reduction), self.kind)
        return self._damages[reduction]

    def profile(self) -> Profile:
        """Measures the damage of each encoder alone, once."""
        if self._profile is None:
            self._profile = self._measure_profile()
        return self._profile

    def search(self, costs: Costs, target_speedup: float, refinements: int | None = None) -> Reduction:
        """Finds a reduction of little damage whose predicted speed-up is the target or just above.

        The target is reachable, see `costs.require_reachable`; `refinements` exchanges are measured, None for 30, or
        20 where widths are searched, too.
        """
        if refinements is None:
            refinements = _REFINEMENTS if self.rebuilt is None else _REFINEMENTS_OF_WIDTHS
        profile = self.profile()
        starts = [allocate(profile, costs, target_speedup)] if self.eliminates else []
        if self.rebuilt is not None:
            starts += [
                allocate(profile, costs, target_speedup, self.widths, dearness, self.eliminates)
                for dearness in _DEARNESS
            ]
        best = min((self.fit(costs, start, target_speedup) for start in starts), key=self.damage)
        random = np.random.default_rng(self.seed)
        with open_bar(total=refinements, desc=f"refine to {target_speedup:.2f}x", unit="configuration") as bar:
            for _ in range(refinements):
                candidate = self.fit(costs, self._exchange(best, random), target_speedup)
                if self.damage(candidate) < self.damage(best):
                    best = candidate
                bar.set_postfix_str(f"damage={self.damage(best):.4f}", refresh=False)
                bar.update()
        return best

    def fit(self, costs: Costs, reduction: Reduction, target_speedup: float) -> Reduction:
        """Brings a reduction to the target: its rows are scaled, and encoders are widened where all rows stay."""
        fitted = self._fit_rows(reduction, costs, target_speedup)
        while costs.speedup(fitted) > target_speedup * _ROOM and (wider := list(self._wider(fitted))):
            slower = [one for one in wider if costs.speedup(one) >= target_speedup]
            if not slower:
                break
            fitted = self._fit_rows(min(slower, key=self._predicted), costs, target_speedup)
        while costs.speedup(fitted) < target_speedup * (1 - 1e-9) and (narrower := list(self._wider(fitted, -1))):
            fitted = self._fit_rows(min(narrower, key=self._predicted), costs, target_speedup)
        return fitted

    def narrowed(self, reduction: Reduction, batches: Sequence[dict[str, np.ndarray]]) -> BertClassifier:
        """The reduced model; if it is narrower, with weights of its own, rebuilt in sequence on `batches`.

        `batches` are inputs of training text, arrays `[B, T]` by name. Each encoder is rebuilt from the inputs that it
        has in the reduced model; where that moves the outputs more on the calibration examples than the dense model's
        inputs do, as after too little text, those are taken.
        """
        widths = self.rebuilt
        if widths is None or not reduction.is_narrowed:
            return with_retention(self.model, reduction.rows, selection=self.selection)
        neurons, heads = self._widths_of(reduction)

        def rebuilt() -> BertClassifier:
            return with_retention(widths.narrowed(neurons, heads), reduction.rows, selection=self.selection)

        model = rebuilt()
        rebuild_in_sequence(self.model, model, batches)
        in_sequence = divergence(self.full, _outputs(model, self.batches), self.kind)
        return model if in_sequence <= self.damage(reduction) else rebuilt()

    def _widths_of(self, reduction: Reduction) -> tuple[tuple[int, ...], tuple[int, ...]]:
        config = self.model.config
        return reduction.neurons or config.encoder_neurons, reduction.heads or config.encoder_heads

    def _fit_rows(self, reduction: Reduction, costs: Costs, target_speedup: float) -> Reduction:
        if not self.eliminates:
            return reduction
        rows = fit_to_budget(reduction.rows, costs, target_speedup, reduction.neurons, reduction.heads)
        fitted = dataclasses.replace(reduction, rows=rows)
        # An encoder from which no row of any input leaves need not score and gather them.
        least = 1 - 1 / self.model.max_seq_length
        plain = dataclasses.replace(fitted, rows=tuple(1.0 if kept > least else kept for kept in rows))
        return plain if costs.speedup(plain) >= costs.speedup(fitted) else fitted

    def _wider(self, reduction: Reduction, steps: int = 1) -> Iterator[Reduction]:
        """The reductions with one encoder a step wider or narrower in one dimension."""
        own = dict(zip(WIDTHS, self._widths_of(reduction), strict=True))
        for name in WIDTHS:
            if len(getattr(self.widths, name)) == 1:
                continue
            everywhere = range(len(self.model.encoders))
            places = [everywhere] if self.widths.are_shared else [[encoder] for encoder in everywhere]
            for together in places:
                changed = list(own[name])
                for encoder in together:
                    changed[encoder] = self.widths.step(name, changed[encoder], steps)
                if tuple(changed) != own[name]:
                    yield self.widths.reduction(reduction.rows, **{**own, name: changed})

    def _predicted(self, reduction: Reduction) -> float:
        """The predicted damage of the widths of a reduction."""
        widths = dict(zip(WIDTHS, self._widths_of(reduction), strict=True))
        return sum(
            self.profile().of_width(name, encoder, width)
            for name, own in widths.items()
            for encoder, width in enumerate(own)
        )

    def _exchange(self, reduction: Reduction, random: np.random.Generator) -> Reduction:
        """Lets one encoder keep more or less; fitting to the budget then charges the others."""
        if self.rebuilt is None or (self.eliminates and random.random() < 1 / 3):
            return Reduction(_exchange_rows(reduction.rows, random), reduction.neurons, reduction.heads)
        first = list(self._wider(reduction, int(random.choice([-2, -1, 1, 2]))))
        changed = first[random.integers(len(first))] if first else reduction
        if random.random() < 0.5:  # and another one in return
            second = list(self._wider(changed, int(random.choice([-1, 1]))))
            changed = second[random.integers(len(second))] if second else changed
        return changed

    def _logits(self, reduction: Reduction) -> np.ndarray:
        # Not compiled: each reduction runs once, and tracing would take longer. Nor sliced, for the same reason.
        model = self.model
        if self.rebuilt is not None and reduction.is_narrowed:
            model = self.rebuilt.zero_filled(*self._widths_of(reduction))
        return _outputs(with_retention(model, reduction.rows, selection=self.selection), self.batches)

    def _measure_profile(self) -> Profile:
        """Runs each encoder's variants, and the encoders after it, from the states that enter it.

        Where widths are searched, too, on every other batch: there are twice as many variants, and the profile is a
        start for what is then measured on all batches.
        """
        encoders = self.model.encoders
        last = len(encoders) - 1
        widths = {
            name: np.unique([max(round(part * grid[-1]), 1) for part in (*_PROFILED_WIDTHS[name], 1.0)])
            for name in WIDTHS
            if len(grid := getattr(self.widths, name)) > 1
        }
        damages = np.zeros((last, len(_PROFILED) + 1))
        width_damages = {name: np.zeros((len(encoders), len(own))) for name, own in widths.items()}
        states = [_entering(self.model, batch) for batch in self.batches[:: 1 if self.rebuilt is None else 2]]

        def outputs(encoders: Sequence[EncoderBlock]) -> np.ndarray:
            return np.concatenate([_finish(self.model, encoders, state) for state in states])

        full = outputs(encoders)

        def moved(variant: EncoderBlock, following: Sequence[EncoderBlock]) -> float:
            return divergence(full, outputs([variant, *following]), self.kind)

        fractions = _PROFILED if self.eliminates else ()
        total = last * len(fractions) + len(encoders) * sum(len(own) - 1 for own in widths.values())
        with open_bar(total=total, desc="calibrate", unit="configuration") as bar:
            for index, encoder in enumerate(encoders):
                following = encoders[index + 1 :]
                for column, fraction in enumerate(fractions if index < last else ()):
                    damages[index, column] = moved(self._extracting(encoder, fraction), following)
                    bar.update()
                for name, own in widths.items():
                    for column, width in enumerate(own[:-1]):
                        narrow = cast(RebuiltWidths, self.rebuilt).zero_filled_encoder(index, name, int(width))
                        width_damages[name][index, column] = moved(narrow, following)
                        bar.update()
                states = [_step(encoder, state) for state in states]

        def never_rising(values: np.ndarray) -> np.ndarray:  # beyond noise, keeping more never hurts
            return np.maximum.accumulate(values[:, ::-1], axis=1)[:, ::-1]

        return Profile(
            np.array([*_PROFILED, 1.0]),
            never_rising(damages),
            widths,
            {name: never_rising(values) for name, values in width_damages.items()},
        )

    def _extracting(self, encoder: EncoderBlock, fraction: float) -> EncoderBlock:
        extract = Extract(fraction, self.model.max_seq_length, selection=self.selection)
        block = EncoderBlock(encoder.config, extract, shared=encoder, name="extracting")
        block.build((None, None, encoder.config.hidden_size), (None, None), (None, None))
        return block


State = tuple[Any, Any, Any]  # word-vectors, their padding mask, that of the input


def _entering(model: BertClassifier, batch: dict[str, np.ndarray]) -> State:
    mask = ops.convert_to_tensor(batch["padding_mask"], "int32")
    return model.get_layer("embeddings")(batch["token_ids"], batch["segment_ids"]), mask, mask


def _step(encoder: EncoderBlock, state: State) -> State:
    return (*encoder(*state), state[2])


def _finish(model: BertClassifier, encoders: Sequence[EncoderBlock], state: State) -> np.ndarray:
    """Logits `[B, C]` from the states that enter the first of `encoders`, the last ones of a model."""
    for encoder in encoders:
        state = _step(encoder, state)
    logits = model.get_layer("classifier")(model.get_layer("pooler")(state[0][:, 0]))
    return ops.convert_to_numpy(ops.reshape(logits, (-1, model.choices)) if model.choices > 1 else logits)


def _outputs(model: BertClassifier, batches: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([ops.convert_to_numpy(model(batch, training=False)) for batch in batches])


def _exchange_rows(fractions: Sequence[float], random: np.random.Generator) -> tuple[float, ...]:
    changed = np.array(fractions)
    encoder = random.integers(len(changed) - 1)  # not the last
    changed[encoder] *= np.exp(random.normal(0.0, 0.25))
    changed = np.clip(changed, CLS_ALONE, 1.0)
    # The fractions must not increase.
    changed[:encoder] = np.maximum(changed[:encoder], changed[encoder])
    changed[encoder:] = np.minimum(changed[encoder:], changed[encoder])
    return tuple(round_up(float(fraction)) for fraction in changed)


def bisect_speedup(
    search: Callable[[float], Any],
    metric_of: Callable[[Any], float],
    lowest: float,
    largest_speedup: float,
    smallest_speedup: float = 1.0,
    steps: int = 6,
) -> Any | None:
    """Finds the fastest reduction whose metric is high enough, by bisection over the logarithm of speed-ups.

    Args:
        search: Target speed-up -> reduction.
        metric_of: Reduction -> metric.
        lowest: The lowest metric that is high enough.
        largest_speedup: Upper end of the bisection.
        smallest_speedup: Lower end of the bisection.
        steps: Number of reductions to try.

    Returns:
        The reduction, or None if no metric was high enough.
    """
    below, above = smallest_speedup, largest_speedup
    best = None
    for _ in range(steps):
        target = (below * above) ** 0.5
        reduction = search(target)
        if metric_of(reduction) >= lowest:
            below, best = target, reduction
        else:
            above = target
    return best
