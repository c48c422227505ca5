"""Tables that hold something for every claim, to take parts away from."""

import dataclasses

import pandas as pd

from lens.study.params import Ablations
from tests.paper.planted import MAIN, Measured, plant, planted, summary

SIX, THREE, SEEDS = ("1", "3", "5", "8", "10", "13"), ("3", "8", "13"), (0, 1, 2)
ABLATED = (
    "uniform_weights", "recon_only_weights", "static_windows", "static_windows_wrapped", "frozen_masks",
    "all_ones_masks", "fixed_tau_0.1", "fixed_tau_1", "fixed_tau_5", "end_tau_0.05", "end_tau_0.3", "end_tau_1",
    "bos_included", "bf16_parameters", "wide_4", "wide_4_sparser", "wide_8", "wide_8_sparser",
)  # fmt: skip
OF_FEATURES = (
    "span_fwhm", "span_fwhm_permuted", "span_fwhm_frequency", "span_fwhm_bin_2", "span_fwhm_bin_4", "span_mask_run",
    "span_mask_run_start", "span_effective_positions", "span_effective_ratio", "span_participation_ratio", "span_dwell",
    "span_dwell_ratio", "span_autocorrelation_time", "span_autocorrelation_ratio", "positional_features",
    "late_span_share", "late_span_share_flat", "late_span_at_first", "late_span_at_last", "late_span_single",
    "late_share_inside", "late_width_q10", "late_width_q25", "late_width_q50", "late_width_q75", "late_width_q90",
    "late_width_ramp", "late_width_bin_2", "late_width_bin_4",
    "seed_mask_correlation", "seed_mask_correlation_null", "seed_pairs", "clusters_favoured", "clusters_stable",
    "cluster_silhouette_best", "cluster_cophenetic", "cluster_consistency", "cluster_consistency_null",
    "cluster_seed_ari", "positional_share_1", "positional_share_1_null", "positional_share_8",
    "positional_share_8_null", "positional_share_since_newline", "positional_share_since_speaker",
    "positional_share_8_given_newline", "information_1", "information_8", "fvu_rise_shuffled", "fvu_rise_mean",
    "fvu_rise_hard", "fvu_rise_gauge_hard", "mask_profile_correlation", "token_share_other", "token_share_positional",
)  # fmt: skip
OF_RUNS = (
    "fvu", "mse", "l0", "delta_ce", "steps", "loss_spike_rate", "gradient_norm_cv", "late_loss", "lost_update_share",
    "mask_drift", "sharp_share", "weight_max", "weight_effective_positions",
)  # fmt: skip
KS = (1, 2, 5, 10, 20, 50)


def everything() -> Measured:
    """Six layers, of which three are main layers, the embedding layer, three seeds and every ablation."""
    main = tuple(map(int, THREE))
    base = plant(layers=THREE, seeds=SEEDS, n_blocks=3)
    values = {(v, m): 0.5 + 0.01 * i for i, v in enumerate((*MAIN, *ABLATED)) for m in OF_RUNS}
    for variant in MAIN:
        del values[variant, "weight_effective_positions"]  # `plant` has them
    features = {(v, m): 0.4 + 0.01 * i for i, v in enumerate((*MAIN, "untrained")) for m in OF_FEATURES}
    l0 = [row for variant in MAIN for row in _curve(variant)]
    more = planted(
        {
            "positions": l0, "summary": [*summary(values, THREE, SEEDS), *summary(features, SIX, SEEDS)],
            "probing": list(_probing()), "decoding": list(_decoding()), "tests": list(_tests()),
        },
        SIX, SEEDS, embedding=True, main_layers=main, ablations=Ablations(main, ABLATED),
    )  # fmt: skip
    tables = {name: pd.concat([base.tables[name], more.tables[name]]) for name in ("positions", "summary")}
    tables |= {"blocks": base.tables["blocks"], "history": base.tables["history"]}
    for name in ("positions", "blocks"):
        copies = (("standard", "uniform_weights"), ("temporallens", "bos_included"))
        more_rows = [tables[name][tables[name]["variant"] == a].assign(variant=b) for a, b in copies]
        tables[name] = pd.concat([tables[name], *more_rows], ignore_index=True)
    return dataclasses.replace(more, layers=THREE, tables=more.tables | tables)


def _curve(variant: str):
    for layer in THREE:
        for seed in SEEDS:
            for t in range(128):
                yield ("test", "stand-in", layer, variant, seed, t, "l0", 100 + seed + t % 7, 1, "")


def _probing():
    for variant in (*MAIN, "language_model", "zero_dictionary", "random_dictionary"):
        for layer in THREE:
            for seed in SEEDS if variant in MAIN else (-1,):
                for k in (0, *KS):
                    yield ("test", "stand-in", layer, variant, seed, "act", k, 0.6 + 0.01 * seed)


def _decoding():
    for variant, source in (("activations", "activation"), ("temporallens", "features"), ("temporallens", "error")):
        for layer in ("embedding", *THREE):
            for first in (1, 8):
                for block in range(3):
                    for metric, value in (("sse", 40.0 + block), ("sst", 100.0)):
                        seed = -1 if variant == "activations" else 0
                        yield ("test", "stand-in", layer, variant, seed, source, first, f"play {block}", metric, value)


def _tests():
    for layer in THREE:
        for seed in SEEDS:
            yield ("test", "stand-in", layer, "temporallens", seed, "against standard", 0.1 + 0.01 * seed, 1e-6)


def timings() -> dict:
    """What `results/benchmarks/cost.json` holds."""
    by_length = {str(T): [0.001 * T, 0.0011 * T, 0.00105 * T] for T in (64, 128, 256)}
    return {
        "lengths": [64, 128, 256], "seconds": {"temporallens": by_length, "standard": by_length},
        "machine": "a machine", "parameters": {},
    }  # fmt: skip
