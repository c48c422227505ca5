"""C10, C17 to C20, C34: features and masks with planted properties, and without them."""

import pytest

from tests.paper.planted import SEEDS, by_itself, judged, made, reading, without

METHOD, STANDARD, SHUFFLED = "temporallens", "standard", "shuffled_positions"
ALL = (METHOD, STANDARD, SHUFFLED)

PLANTED = {  # claim -> metric -> (method, controls): present in the method alone
    "C10": {"sharp_share": (0.8, 0.2), "mask_drift": (2.0, 0.1), "seed_mask_correlation": (0.7, 0.01),
            "seed_mask_correlation_null": (0.01, 0.01)},
    "C17": {"clusters_favoured": (4, 1), "clusters_stable": (4, 1), "cluster_silhouette_best": (0.85, 0.3),
            "cluster_cophenetic": (0.9, 0.6)},
    "C18": {"cluster_consistency": (0.8, 0.4), "cluster_consistency_null": (0.4, 0.4), "cluster_seed_ari": (0.7, 0.1)},
    "C19": {"positional_share_8": (0.4, 0.01), "positional_share_8_null": (0.01, 0.01),
            "positional_share_1": (0.6, 0.01), "positional_share_1_null": (0.01, 0.01)},
    "C20": {"fvu_rise_shuffled": (0.1, 0.001), "fvu_rise_mean": (0.05, 0.001), "fvu_rise_hard": (0.2, 0.2),
            "fvu_rise_gauge_hard": (0.2, 0.2), "seed_mask_correlation": (0.7, 0.01),
            "own_windows_mask_correlation": (0.7, 0.01),
            "mask_profile_correlation": (0.5, 0.0)},
    "C34": {"token_share_other": (0.30, 0.50), "token_share_positional": (0.29, 0.15)},
}  # fmt: skip
FIRST = {"C10": 0.8, "C17": 4, "C18": 0.4, "C19": 0.39, "C20": 0.1, "C34": 1 / 30}


def planted(claim: str, seeds=SEEDS, **method):
    """Tables of one claim; keywords replace the method's value of a metric."""
    values = {}
    for metric, (own, control) in PLANTED[claim].items():
        values[METHOD, metric] = method.get(metric, own)
        values |= {(variant, metric): control for variant in ALL[1:]}
    return made(values, seeds=seeds)


@pytest.mark.parametrize("claim", PLANTED)
def test_what_the_method_alone_shows_is_reproduced_and_attributed(claim):
    entry = judged(planted(claim), claim)
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "yes"), entry["reason"]
    first = entry["readings"][0]
    assert first["estimate"] == pytest.approx(FIRST[claim], rel=0.01)
    assert first["low"] < first["estimate"] < first["high"] and first["n_seeds"] == 5


@pytest.mark.parametrize("claim", PLANTED)
def test_what_the_controls_show_too_is_not_attributed(claim):
    values = {(v, metric): own for metric, (own, _) in PLANTED[claim].items() for v in ALL}
    entry = judged(made(values), claim)
    assert (entry["verdict"], entry["attributable"]) == ("present without the method", "no")
    assert "shows it too" in entry["attributable_reason"]


@pytest.mark.parametrize("claim", PLANTED)
def test_what_is_not_there_is_not_reproduced(claim):
    values = {(v, metric): control for metric, (_, control) in PLANTED[claim].items() for v in ALL}
    entry = judged(made(values), claim)
    assert (entry["verdict"], entry["attributable"]) == ("not reproduced", "not applicable"), entry["reason"]


@pytest.mark.parametrize(
    ("claim", "method", "word"),
    [
        ("C10", {"mask_drift": 0.2}, "partly"),  # sharp by temperature alone
        ("C10", {"seed_mask_correlation": 0.1}, "partly"),
        ("C10", {"sharp_share": 0.3}, "not reproduced"),
        ("C17", {"clusters_stable": 1}, "partly"),
        ("C17", {"cluster_silhouette_best": 0.6}, "partly"),
        ("C17", {"cluster_silhouette_best": 0.4}, "not reproduced"),
        ("C18", {"cluster_seed_ari": 0.2}, "partly"),
        ("C18", {"cluster_consistency": 0.45}, "partly"),
        ("C19", {"positional_share_8": 0.02}, "partly"),  # before position 8 only
        ("C20", {"own_windows_mask_correlation": 0.2}, "partly"),
        ("C20", {"fvu_rise_shuffled": 0.001}, "not reproduced"),
        ("C34", {"token_share_positional": 0.20}, "partly"),
        ("C34", {"token_share_positional": 0.05}, "not reproduced"),
    ],
)
def test_halves_of_a_claim(claim, method, word):
    assert by_itself(judged(planted(claim, **method), claim)) == word


@pytest.mark.parametrize("claim", PLANTED)
def test_a_missing_measure_is_named(claim):
    decisive = {"C10": "mask_drift", "C17": "clusters_stable", "C18": "cluster_consistency_null",
                "C19": "positional_share_1", "C20": "fvu_rise_shuffled", "C34": "token_share_other"}[claim]  # fmt: skip
    entry = judged(without(planted(claim), metric=decisive), claim)
    assert entry["verdict"] == "not measured in this study"
    assert entry["reason"].startswith(f"no '{decisive}' of variant 'temporallens'")
    gap = judged(without(planted(claim), metric=decisive, variant=METHOD, layer="8", seed=2), claim)
    assert gap["reason"].startswith(f"no '{decisive}' of variant 'temporallens' at layer 8, seed 2")


@pytest.mark.parametrize("claim", PLANTED)
def test_a_missing_control_leaves_the_verdict_and_not_the_attribution(claim):
    entry = judged(without(planted(claim), variant=SHUFFLED), claim)
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")
    assert SHUFFLED in entry["attributable_reason"]


def test_a_control_without_one_of_the_rules_measures_is_not_assessed():
    entry = judged(without(planted("C10"), variant=SHUFFLED, metric="mask_drift"), "C10")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")


def test_a_control_that_misses_the_rule_but_does_not_differ_is_not_assessed():
    """As many clusters in the standard dictionary, but less marked ones: the rule is missed by another measure."""
    values = {(METHOD, metric): own for metric, (own, _) in PLANTED["C17"].items()}
    values |= {(v, metric): control for metric, (_, control) in PLANTED["C17"].items() for v in ALL[1:]}
    entry = judged(made(values | {(STANDARD, "clusters_favoured"): 4}), "C17")
    assert (entry["verdict"], entry["attributable"]) == ("reproduced", "not assessed")
    assert "standard: misses the rule, but the paired difference does not exclude 0" in entry["attributable_reason"]


MASKS = "correlation of matched masks between seeds"
OF_PAIRS = {
    "C10": ("seed_mask_correlation", MASKS),
    "C18": ("cluster_seed_ari", "adjusted Rand index between seeds"),
    "C20": ("own_windows_mask_correlation", f"{MASKS}, own windows"),
}


@pytest.mark.parametrize("claim", OF_PAIRS)
def test_seeds_that_share_too_few_features_leave_one_condition_open(claim):
    metric, name = OF_PAIRS[claim]
    entry = judged(without(planted(claim), metric=metric), claim)
    assert entry["verdict"] == "partly" and f"{PAIR_MEASURES[claim]}: unknown" in entry["reason"]
    kind = "context" if claim == "C20" else "readings"
    assert reading(entry, name, kind)["detail"].startswith("too few shared features to compare: no ")
    failing = {"C10": {"sharp_share": 0.3}, "C18": {"cluster_consistency": 0.3}, "C20": {"fvu_rise_shuffled": 0.001}}
    other = judged(without(planted(claim, **failing[claim]), metric=metric), claim)
    assert other["verdict"] == "not reproduced"
    two = judged(without(planted(claim, seeds=(0, 1)), metric=metric), claim)
    assert reading(two, name, kind)["detail"].startswith("fewer than 3 seeds to compare")


PAIR_MEASURES = {
    "C10": "correlation of masks between seeds",
    "C18": "adjusted Rand index between seeds",
    "C20": "own windows mask correlation",
}


def test_the_number_of_shared_features_stands_beside_their_agreement():
    values = {(v, metric): own for metric, (own, _) in PLANTED["C18"].items() for v in ALL}
    entry = judged(made(values | {(METHOD, "seed_pairs"): 40.0}), "C18")
    assert reading(entry, "features shared by a pair of seeds", "context")["estimate"] == pytest.approx(40)
    assert judged(made(values), "C18")["context"] == []


@pytest.mark.parametrize("claim", ["C17", "C19", "C34"])
def test_one_seed_is_inconclusive(claim):
    values = {(v, metric): own for metric, (own, _) in PLANTED[claim].items() for v in ALL}
    entry = judged(made(values, seeds=(0,)), claim)
    assert (entry["verdict"], entry["attributable"]) == ("inconclusive", "not assessed")
    assert "(no interval)" in entry["reason"] and entry["readings"][0]["estimate"] is not None


def test_a_missing_reading_beside_the_rule_is_left_empty():
    entry = judged(without(planted("C20"), metric="fvu_rise_hard"), "C20")
    assert entry["verdict"] == "reproduced"
    assert reading(entry, "mask thresholded")["verdict"] == "not measured in this study"


def test_moved_masks_are_read_at_each_layer_as_well():
    entry = judged(made({(v, m): own for m, (own, _) in PLANTED["C20"].items() for v in ALL}, ("3", "8")), "C20")
    assert [reading(entry, f"mask shuffled, layer {layer}", "context")["estimate"] for layer in (3, 8)] == [
        pytest.approx(0.1, abs=1e-3)
    ] * 2


def test_masks_that_agree_by_shared_windows_alone_passed_the_old_rule_and_fail_the_new_one():
    entry = judged(planted("C20", fvu_rise_shuffled=0.001), "C20")
    assert (entry["verdict"], entry["before"]["verdict"]) == ("not reproduced", "partly")


def test_layers_that_differ_are_not_averaged():
    values = {(v, m): own if v == METHOD else control for m, (own, control) in PLANTED["C20"].items() for v in ALL}
    values[METHOD, "fvu_rise_shuffled"] = [[0.1], [0.001]]
    entry = judged(made(values), "C20")
    assert [row["verdict"] for row in entry["layers"]] == ["reproduced", "not reproduced"]
    assert (entry["verdict"], entry["before"]["verdict"]) == ("depends on the layer", "reproduced")


def test_positional_features_of_the_embedding_layer_stand_beside_those_of_blocks():
    values = {(METHOD, metric): own for metric, (own, _) in PLANTED["C19"].items()}
    data = made(values, ("3", "8"), embedding=True)
    beside = reading(judged(data, "C19"), "from position 8, embedding layer", "context")
    assert beside["detail"] == "no 'positional_share_8' of variant 'temporallens' at layer embedding, seed 0"
    alone = reading(judged(made(values), "C19"), "from position 8, embedding layer", "context")
    assert alone["detail"] == "the study has no embedding layer"
    learned = judged(made(values, embedding=True, model="all-minilm-l6-v2"), "C19")  # position is in that layer
    assert not [r for r in learned["context"] if "embedding" in r["name"]]


def test_too_few_features_of_either_kind_is_said():
    entry = judged(without(planted("C34"), metric="token_share_positional"), "C34")
    assert "too few features of either kind have equal density" in entry["reason"]


def test_non_inferiority_is_tested_against_its_margin():
    worse = judged(planted("C34", token_share_positional=0.23), "C34")  # a loss of 0.23, above the margin of 0.2
    better = judged(planted("C34"), "C34")
    assert better["p"] < 0.001 < 0.5 < worse["p"]


def test_agreement_without_shared_data_decides_and_that_of_masks_with_shared_data_stands_beside_it():
    shared = {(v, metric): own for metric, (own, _) in PLANTED["C20"].items() if "own" not in metric for v in ALL}
    name = "correlation of matched masks between seeds"
    before = judged(made(shared), "C20")
    own = {
        (METHOD, "own_order_mask_correlation"): 0.6, (SHUFFLED, "own_order_mask_correlation"): 0.01,
        (METHOD, "own_windows_mask_correlation"): 0.1, (METHOD, "own_windows_mask_correlation_next"): 0.09,
    }  # fmt: skip
    entry = judged(made(shared | own), "C20")
    found = {"own order": 0.6, f"own order, {SHUFFLED}": 0.01, "own windows": 0.1, "own windows, next position": 0.09,
             f"own order, {METHOD} - {SHUFFLED}": 0.59}  # fmt: skip
    for end, value in found.items():
        assert reading(before, f"{name}, {end}", "context")["estimate"] is None
        assert reading(entry, f"{name}, {end}", "context")["estimate"] == pytest.approx(value, abs=1e-3)
    assert entry["verdict"] == "present without the method"  # the control is planted alike
    assert entry["before"]["verdict"] == before["before"]["verdict"] == "reproduced"
