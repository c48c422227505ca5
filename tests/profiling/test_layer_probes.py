import numpy as np
import pytest
import torch

from lens.activations import models
from lens.dictionaries.dictionary import Dictionary
from lens.measure.probing import tasks_from_labels
from lens.profiling.probes import decoding_tables, probing_tables, splice_tables
from tests.making import info

T, D = 20, 8


def dictionaries(masked=("temporallens",)):
    found = {}
    for variant in ("standard", "temporallens"):
        config = info(D, D, T, variant in masked, 0.1, 1.0, name=variant, seed=0)
        found[variant, 0] = Dictionary.initialise(config, torch.zeros(D), 0)
    return found


def text(n, shift=0.0, seed=0):
    x = torch.randn(n, T, D, generator=torch.Generator().manual_seed(seed))
    x[..., 0] += shift
    return x.bfloat16()


def test_zero_dictionary_is_at_chance_and_a_readable_label_is_read():
    plays, docs = text(90, 1.5), text(90, -1.5, seed=1)
    document = np.arange(90) // 10
    nothing = np.zeros(90, int)
    tasks = tasks_from_labels(document, nothing, np.full(90, None), nothing, nothing, np.arange(90) // 10)
    assert [task.name for task in tasks] == ["shakespeare"]
    codes = {key: sae.encode(plays.float()).dense() for key, sae in dictionaries().items()}
    means = {key: f[:, 1:].mean(1).detach().numpy() for key, f in codes.items()}
    table = probing_tables(dictionaries(), means, plays, docs, tasks, 1.0)["probing"]
    accuracy = table.pivot_table(index="variant", columns="k", values="value")
    assert (accuracy.loc["zero_dictionary"] == 0.5).all()
    assert (accuracy.loc["language_model"] > 0.95).all()
    assert accuracy.loc["standard", 0] > 0.9
    assert set(table["k"]) == {0, 1, 2, 5}  # no k beyond the width


def test_position_is_decoded_where_it_is_and_from_the_documents_left_out():
    x = text(60)
    x[..., 1] = torch.log2(1 + torch.arange(T)).bfloat16()
    block, blocks = torch.arange(60) // 10, list("abcdef")
    table = decoding_tables(dictionaries(), x, block, blocks, ("temporallens",))["decoding"]
    sums = table.pivot_table(index=["variant", "source", "first"], columns="metric", values="value", aggfunc="sum")
    r2 = 1 - sums["sse"] / sums["sst"]
    assert r2["activations", "activation", 1] > 0.99 and r2["activations", "activation", 8] > 0.9
    assert set(sums.index.get_level_values("source")) == {"activation", "features", "error"}
    assert set(table["block"]) == set(blocks)


def test_one_document_leaves_nothing_to_decode_on():
    assert decoding_tables(dictionaries(), text(20), torch.zeros(20, dtype=torch.long), ["only"], ()) == {}


def test_splicing_one_bucket_leaves_earlier_predictions_alone():
    model = models.load("random:gemma-3-tiny")
    config = info(model.d_model, model.d_model, 24, True, 0.1, 1.0, name="temporallens", seed=0)
    sae = Dictionary.initialise(config, torch.zeros(model.d_model), 0)
    tokens = torch.randint(0, 200, (3, 24), generator=torch.Generator().manual_seed(0))
    table = splice_tables(model, tokens, 1, ("temporallens", 0), sae)["splice"]
    matrix = table.pivot_table(index="replaced", columns="bucket", values="value", sort=False)
    assert list(matrix) == list(matrix.index) and matrix.to_numpy()[np.tril_indices(len(matrix), -1)] == pytest.approx(
        0
    )
    assert (np.diag(matrix) != 0).all()
