"""Training of all variants and seeds of one layer on the same batches, resumable at any point."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from lens.activations.statistics import InputStatistics, PositionMoments, input_statistics, position_moments
from lens.activations.store import link_folders
from lens.dictionaries import by_name
from lens.dictionaries.dictionary import Dictionary, Info
from lens.files import write
from lens.processes import from_all, from_first, holding_together, rank, wait_for_all
from lens.progress import progress
from lens.training import first_pool
from lens.training.checkpoint import begin, remove_useless, restore, snapshot
from lens.training.events import event_log
from lens.training.gradients import Workspace
from lens.training.pool import key, remove_if_damaged, run_key, take_over
from lens.training.recipe import Recipe
from lens.training.run import Run, TrainingError
from lens.training.sealed import sealing
from lens.training.sharing import check, local, shards, share_of, whole
from lens.training.source import Source, Stored
from lens.training.tables import tables

CHECKPOINT_EVERY = 100  # optimiser steps between two savings of the whole state
CONSTANT = 1e-6  # share of the squared norm below which a variance is rounding
FRAMES = ("history", "position_weights", "late_weights", "summary")


@dataclass(frozen=True)
class Trained:
    """What training one layer leaves behind."""

    folders: dict[tuple[str, int], Path]
    """dictionary folder of each (variant, seed)"""
    history: pd.DataFrame
    """variant, seed, step, metric, value: at every logged step"""
    position_weights: pd.DataFrame
    """variant, seed, step, position, value: snapshots of w_t (runs with adaptive weights)"""
    late_weights: pd.DataFrame
    """variant, seed, position, value: mean of w_t over the last tenth of the steps (runs with adaptive weights)"""
    summary: pd.DataFrame
    """variant, seed, metric, value: invariants checked on the way, and the state of the masks at the end"""


def shuffle_positions(x: Tensor, step: int, seed: int) -> Tensor:
    """Permute the vectors of each window of x [B, P, d] on their own, so that row p says nothing about position."""
    generator = torch.Generator().manual_seed(seed * 100_003 + step)
    order = torch.rand(x.shape[:2], generator=generator).argsort(dim=1).to(x.device)
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))


def train_layer(
    activations: Tensor | Source,
    recipes: dict[str, Recipe],
    seeds: Sequence[int],
    folder: Path,
    pool: Path,
    *,
    data_digest: str,
    model: str = "",
    layer: int | str = "",
    bos: bool = True,
    order_seed: int = 0,
    log_every: int = 20,
    device: str | torch.device | None = None,
    log_dir: Path | None = None,
) -> Trained:
    """Train every variant with every seed on the residual stream of one layer.

    Runs with equal steps and batches see the same windows in the same order, or with a `window_order` per seed those
    of one seed do; a seed sets the initial weights and mask logits, and variants of one seed start from the same ones:
    their differences are paired by construction.

    Args:
        activations: training windows [n, T, d_in], memory-mapped or not; or another source of them.
        recipes: by variant.
        folder: where `<variant>-seed<seed>/` dictionaries appear, all at once, when training has finished.
        pool: where each run is kept under a digest of everything that decides its result. A call goes on from
            unfinished state, and does not train again what is finished, whatever else it asks for. Of calls for the
            same activations one works at a time. A run whose files were altered since is named and trained again.
        data_digest: identifies the activations, so that no state is resumed on other data.
        bos: whether position 0 of the windows holds BOS, as the dictionary will say.
        log_dir: folder for TensorBoard: the metrics of `history` of the runs that this call trains, as they come.

    Raises:
        TrainingError: the loss of a run is not finite or all its features are silent: of each such run, after the
            others were trained and kept; or there are fewer windows than a batch.
        OSError: there is no room for a state or a result; the next call goes on from the last state.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    source = Stored(activations) if isinstance(activations, Tensor) else activations
    n, T, d_in = source.shape
    if n < (batch := max(recipe.batch_windows for recipe in recipes.values())):
        raise TrainingError(f"{n} training windows are fewer than one batch of {batch}; ask for more windows")
    shared = {
        "data": data_digest,
        "model": model,
        "layer": str(layer),
        "order_seed": order_seed,
        "log_every": log_every,
        "device": device.type,
        "torch": torch.__version__,
    }
    keys = {
        (variant, seed): run_key(recipe, variant, seed, shared) for variant, recipe in recipes.items() for seed in seeds
    }
    finished = {run: pool / f"trained-{key}" for run, key in keys.items()}
    check(recipes, len(seeds), d_in)
    mine = share_of([(v, s) for v, s in keys if recipes[v].processes == "runs"])
    states = f"train-{key(shared)}"  # what it starts with is under the lock
    with holding_together(pool / f"training-{key(shared)}"):
        if not rank():
            take_over({(v, s): first_pool.first_key(recipes[v], v, s, shared) for v, s in keys}, finished)
            for (v, s), path in finished.items():
                remove_if_damaged(path, recipes[v], f"{v}-seed{s}", log_every)
            remove_useless(pool.glob(f"{states}-*"), pool)
        groups = from_first(_together(keys, recipes, order_seed, finished))
        if groups:
            sample = source.sample(order_seed)
            statistics = input_statistics(sample)
            _check(statistics, layer, [v for v, recipe in recipes.items() if recipe.input_centre == "mean"])
            moments = functools.cache(functools.partial(_moments, sample, order_seed))
        workspace, failures = Workspace(), []
        for (_, size, order, by), missing in groups:
            own = [run for run in missing if by != "runs" or run in mine]
            share = shards(by)
            runs = [
                Run(
                    recipes[v],
                    local(_initial(v, recipes[v], seed, statistics, moments, (T, d_in), model, layer, bos), share).to(
                        device
                    ),
                    workspace,
                    share,
                )
                for v, seed in own
            ]
            if runs:
                of_share = list(vars(share).values()) if share.by else []  # each process has states of its own
                state = pool / f"{states}-{key([keys[run] for run in own] + of_share)}"
                begin(state, [finished[run] for run in own])
                read, log_to = source.shared() if share.by else source, None if share.rank else log_dir
                _train(runs, read, state, size, order, log_every, layer, log_to)
                _finish({finished[run]: trained for run, trained in zip(own, runs, strict=True)}, state)
                failures += [run.failure for run in runs if run.failure]
        failures = list(dict.fromkeys(line for lines in from_all(failures) for line in lines))
        if failures:
            kept = len(keys) - len(failures)
            raise TrainingError(
                "\n".join([*failures, *([f"the other runs ({kept}) are trained and kept"] if kept else [])])
            )
        if not rank():
            link_folders([finished[v, s] / f"{v}-seed{s}" for v, s in keys], folder)
        wait_for_all()
        return Trained(
            {(variant, seed): folder / f"{variant}-seed{seed}" for variant, seed in keys},
            *(
                pd.concat([pd.read_csv(finished[run] / f"{name}.csv") for run in keys], ignore_index=True)
                for name in FRAMES
            ),
        )


def _check(statistics: InputStatistics, layer: int | str, centred: list[str]) -> None:
    """Raise TrainingError where there is nothing to train on: for any recipe, or for those that centre their inputs."""
    if not 0 < statistics.mean_square_norm < math.inf:
        raise TrainingError(
            f"layer {layer}: the mean squared norm of the activations is {statistics.mean_square_norm}; they are all "
            "zero, or some are not finite: extract them again, and look at the model's precision"
        )
    if centred and statistics.variance < CONSTANT * statistics.mean_square_norm:
        raise TrainingError(
            f"layer {layer}: the activations are all the same, and {centred[0]} centres them: nothing is left to train "
            "on; extract them again, or train with input_centre none"
        )


def _together(
    runs: Iterable[tuple[str, int]],
    recipes: dict[str, Recipe],
    order_seed: int,
    finished: dict[tuple[str, int], Path],
) -> list[tuple[tuple[int, int, int, str], list[tuple[str, int]]]]:
    """Unfinished runs (variant, seed) by what they must share to see the same batches: steps, windows of a batch, the
    seed of the order, and what processes share. Seed 0 has as its own the order that is else shared."""
    groups: dict[tuple[int, int, int, str], list[tuple[str, int]]] = {}
    for variant, seed in runs:
        if not finished[variant, seed].is_dir():
            recipe = recipes[variant]
            order = order_seed + (seed if recipe.window_order == "per_seed" else 0)
            key = recipe.steps, recipe.batch_windows, order, recipe.processes
            groups.setdefault(key, []).append((variant, seed))
    return sorted(groups.items())


def _train(
    runs: list[Run], source: Source, state: Path, batch: int, order_seed: int, log_every: int, layer,
    log_dir: Path | None,
) -> None:  # fmt: skip
    steps = runs[0].recipe.steps
    device = runs[0].dictionary.W_enc.device
    first = restore(runs, state)
    what = f"train layer {layer}, {len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    with progress(what, steps, "steps", done=first) as advance, event_log(log_dir, runs, first) as write_events:
        for step, x in enumerate(source.batches(batch, steps, order_seed, first), start=first):
            x = x.to(device)
            shuffled = {
                bos: shuffle_positions(x[:, 0 if bos else 1 :], step, order_seed)
                for bos in {run.recipe.include_bos for run in runs if run.recipe.positions == "shuffled"}
            }
            log = step % log_every == 0 or step == steps - 1
            for run in runs:
                run.step(x, shuffled.get(run.recipe.include_bos), log=log)
            if log:
                write_events()
                if all(run.failure for run in runs):
                    return
            advance(1)
            if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < steps:
                snapshot(runs, state, step + 1)


def _finish(runs: dict[Path, Run], state: Path) -> None:
    """Check the runs, write each good one to its folder, and only then drop the state of unfinished training.

    What processes share, the first of them writes."""
    for run in runs.values():
        run.check_finished()
    good = {folder: run for folder, run in runs.items() if not run.failure}
    shares = [run.shards for run in runs.values()]
    dictionaries = [whole(run.dictionary, run.shards) for run in good.values()]
    if not shares[0].rank:
        with ExitStack() as stack:  # all of them or none: the state is of all
            for (folder, run), dictionary in zip(good.items(), dictionaries, strict=True):
                new = stack.enter_context(sealing(folder))
                dictionary.save(new / run.name)
                for name, table in tables(run).items():
                    write(new / f"{name}.csv", table.to_csv(index=False).encode())
    if shares[0].by:
        wait_for_all()
    shutil.rmtree(state, ignore_errors=True)


def _moments(activations: Tensor, order_seed: int, recipe_positions: str, first_position: int) -> PositionMoments:
    """Moments of the windows as a run sees them: of those that it permutes, permuted."""

    def seen(step: int, x: Tensor) -> Tensor:
        if recipe_positions == "true":
            return x
        text = shuffle_positions(x[:, first_position:], step, order_seed)
        return torch.cat([x[:, :first_position], text], dim=1)

    return position_moments(seen(i, x) for i, x in enumerate(activations.split(16)))


def _initial(
    variant, recipe: Recipe, seed, statistics, moments: Callable[[str, int], PositionMoments], shape, model, layer, bos
) -> Dictionary:
    T, d_in = shape
    centred = recipe.input_centre == "mean"
    scale = 1.0 if recipe.input_scale == "raw" else statistics.scale(centred=centred)
    info = Info(
        d_in=d_in,
        d_sae=recipe.expansion * d_in,
        n_positions=T,
        architecture=recipe.architecture,
        position=recipe.position,
        settings=recipe.settings,
        input_scale=scale,
        apply_b_dec_to_input=by_name.architecture(recipe.architecture).free_decoder,
        model=model,
        layer=str(layer),
        name=variant,
        seed=seed,
        bos=bos,
    )
    centre = statistics.mean if centred else None
    mean = torch.zeros(d_in) if centred else statistics.mean * scale
    dictionary = Dictionary.initialise(info, mean, seed, centre)
    dictionary.prepare(lambda: moments(recipe.positions, 0 if recipe.include_bos else 1).scaled(scale, centre))
    return dictionary
