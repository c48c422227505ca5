"""Sparse probing: planted classes, honest splits, and the exact .5 of a representation that says nothing."""

import numpy as np
import pytest
import torch

from lens.measure.probing import (
    K_VALUES,
    MIN_EXAMPLES,
    Task,
    TooFewExamples,
    balanced_task,
    pooled,
    probe,
    split_documents,
    tasks_from_labels,
    top_coordinates,
)

N = 400


def halves(seed=0, n=N):
    """A task on n rows, the first half of them for training."""
    y = np.random.default_rng(seed).permutation(np.arange(n) % 2 == 0)
    return balanced_task("planted", np.arange(n), y, np.arange(n) >= n // 2, seed), y


def labels(n=1200, seed=0):
    """Windows of 24 plays of three genres with labels drawn at random; the median of speaker changes is 2."""
    rng = np.random.default_rng(seed)
    document = rng.integers(0, 24, n)
    genre = np.array(["comedies", "histories", "tragedies"], object)[document % 3]
    act = rng.choice(np.array(["I", "II", None], object), n)
    return {
        "document": document, "genre": genre, "act": act, "stage_direction": rng.random(n) < 0.3,
        "speaker_changes": rng.integers(0, 5, n),
    }  # fmt: skip


# Probes


def test_a_planted_coordinate_is_found_by_one():
    task, y = halves()
    X = np.random.default_rng(1).normal(size=(N, 60))
    X[:, 7] += 8 * y
    found = probe(X, task, "sae")
    assert set(found) == {"sae_test_accuracy", *(f"sae_top_{k}_test_accuracy" for k in K_VALUES)}
    assert min(found.values()) > 0.95
    assert found["sae_top_1_test_accuracy"] > 0.99


def test_accuracy_by_hand():
    # One coordinate, boundary at 0; of four held-out rows one is on the wrong side.
    X = np.array([-1.0] * 20 + [1.0] * 20 + [-1, -2, 3, -3])[:, None]
    y = np.arange(44) >= 20
    task = Task("hand", np.arange(40), y[:40], np.arange(40, 44), np.array([False, False, True, True]))
    assert probe(X, task, "llm", [1]) == {"llm_test_accuracy": 0.75, "llm_top_1_test_accuracy": 0.75}


def test_coordinates_are_ranked_by_the_difference_of_class_means():
    X = np.array([[0.0, 5, 1], [0, 5, 1], [2, 4, -8], [2, 4, -8]])
    assert top_coordinates(X, np.array([True, True, False, False])).tolist() == [2, 0, 1]


def test_coordinates_are_chosen_on_training_rows_only():
    # In coordinate 0 the classes differ on training rows; in coordinate 1 far more, on test rows alone.
    task, y = halves()
    X = np.random.default_rng(1).normal(size=(N, 2)) * 0.1
    X[: N // 2, 0] += y[: N // 2]
    X[N // 2 :, 1] += 100 * y[N // 2 :]
    alone = probe(X[:, :1], task, "sae", [1])["sae_top_1_test_accuracy"]
    assert probe(X, task, "sae", [1])["sae_top_1_test_accuracy"] == alone
    assert alone == pytest.approx(0.5, abs=0.1)


def test_a_representation_without_information_scores_half_with_scatter():
    scores = [probe(np.random.default_rng(s).normal(size=(N, 5)), halves(s)[0], "llm", [2]) for s in range(8)]
    assert np.mean([s["llm_test_accuracy"] for s in scores]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("constant", [0.0, 3.7, -1e4])
def test_a_constant_representation_scores_exactly_half(constant):
    found = probe(np.full((N, 64), constant), halves()[0], "sae")
    assert list(found.values()) == [0.5] * 7
    narrow = probe(np.full((N, 5), constant), halves()[0], "sae")  # no probe is wider than the representation
    assert list(narrow) == ["sae_test_accuracy", *(f"sae_top_{k}_test_accuracy" for k in (1, 2, 5))]


# Representations


def test_pooling_by_hand_leaves_out_bos():
    x = torch.tensor([[[1e6, 1e6], [1, 2], [3, -4]], [[1e6, 1e6], [0, 0], [6, 2]]])
    assert pooled(lambda x: x, x).tolist() == [[2, -1], [3, 1]]
    assert pooled(torch.relu, x).tolist() == [[2, 1], [3, 1]]  # the mean of features, not features of the mean
    assert pooled(lambda x: x, x, first=2).tolist() == [[3, -4], [6, 2]]
    with pytest.raises(ValueError, match="first = 0: position 0 is BOS"):
        pooled(lambda x: x, x, first=0)


# Tasks


def test_a_task_is_balanced_on_both_sides_and_subsampled_by_the_seed():
    y = np.arange(300) % 4 == 0
    is_test = np.arange(300) < 100
    task, again, other = (balanced_task("t", np.arange(300) + 1000, y, is_test, seed) for seed in (0, 0, 1))
    assert (len(task.train_y), len(task.test_y)) == (100, 50)
    assert task.train_y.mean() == task.test_y.mean() == 0.5
    assert len(set(task.train_rows)) == 100 and task.train_rows.min() >= 1100 > task.test_rows.max()
    np.testing.assert_array_equal(y[task.train_rows - 1000], task.train_y)
    np.testing.assert_array_equal(task.train_rows, again.train_rows)
    assert not np.array_equal(task.train_rows, other.train_rows)


def test_too_few_examples_are_refused_with_the_numbers():
    y = np.concatenate([np.arange(100) % 2 == 0, np.arange(100) < MIN_EXAMPLES - 1])
    with pytest.raises(TooFewExamples, match="rare: 19 test windows are in the class and 81 are not, 20 of each"):
        balanced_task("rare", np.arange(200), y, np.arange(200) >= 100, 0)
    assert issubclass(TooFewExamples, ValueError)


def test_documents_are_split_within_strata():
    stratum = np.array(["a"] * 9 + ["b"] * 2 + ["c"])
    for seed in range(5):
        test = split_documents(stratum, seed)
        assert [test[stratum == s].sum() for s in "abc"] == [3, 1, 0]
    assert len({split_documents(stratum, seed).tobytes() for seed in range(9)}) > 1


def test_no_document_is_on_both_sides_of_any_task():
    given = labels()
    documentation = np.random.default_rng(1).integers(0, 9, 300)
    found = tasks_from_labels(**given, documentation=documentation)
    assert [task.name for task in found] == [
        "genre:comedies", "genre:histories", "genre:tragedies", "act:I", "act:II", "stage_direction",
        "speaker_changes", "shakespeare",
    ]  # fmt: skip
    document = np.concatenate([given["document"], 100 + documentation])
    test_documents = set()
    for task in found:
        assert not set(document[task.train_rows]) & set(document[task.test_rows])
        assert task.train_y.mean() == task.test_y.mean() == 0.5
        test_documents |= set(document[task.test_rows])
    assert (
        len({d for d in test_documents if d < 100}) == 9
    )  # a third of each genre's 8 plays, rounded; the same in every task


def test_answers_are_the_labels():
    given = labels()
    tasks = {task.name: task for task in tasks_from_labels(**given, documentation=np.arange(300) % 9)}

    def answers(name, truth):
        task = tasks[name]
        np.testing.assert_array_equal(truth[task.train_rows], task.train_y)
        np.testing.assert_array_equal(truth[task.test_rows], task.test_y)

    answers("genre:histories", given["genre"] == "histories")
    answers("act:II", given["act"] == "II")
    answers("stage_direction", given["stage_direction"])
    answers("speaker_changes", given["speaker_changes"] > 2)
    answers("shakespeare", np.arange(1500) < 1200)
    known = np.array([act is not None for act in given["act"]])
    assert known[tasks["act:I"].train_rows].all()


def test_the_median_of_speaker_changes_is_that_of_training_windows():
    given = labels()
    test = {d for task in tasks_from_labels(**given) for d in given["document"][task.test_rows]}
    is_test = np.isin(given["document"], list(test))
    given["speaker_changes"] = np.where(
        is_test, np.minimum(100 * given["speaker_changes"] + 2, 100), given["speaker_changes"]
    )
    assert (np.median(given["speaker_changes"][~is_test]), np.median(given["speaker_changes"])) == (2, 3)
    task = {task.name: task for task in tasks_from_labels(**given)}["speaker_changes"]
    np.testing.assert_array_equal(given["speaker_changes"][task.train_rows] > 2, task.train_y)


def test_a_genre_of_one_play_is_left_out_and_the_rest_goes_on():
    given = labels()
    given["genre"] = np.where(given["document"] == 0, "problems", given["genre"]).astype(object)
    assert [t.name for t in tasks_from_labels(**given)][:4] == [
        "genre:comedies",
        "genre:histories",
        "genre:tragedies",
        "act:I",
    ]
    with pytest.raises(TooFewExamples, match="no probing task is possible: genre:comedies: .*20 of each are needed"):
        tasks_from_labels(**{name: values[:30] for name, values in given.items()})
