"""Files of temporal feature analysis, with the values they must give; and what broken ones get."""

import pytest
import torch

from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import temporal


def test_temporal_feature_analysis(tmp_path):
    """x/2 - b is [2, 1], [4, 3], [0, 8]; codes of these are the same, as 1/8 of 8 is 1.

    The means of earlier codes, with a zero before the first, are [0, 0], [1, 1/2], [2, 4/3]; directions 8 times that.
    Their parts of the inputs, <u, x> / |u|^2 = 44/80 and 3/13, are predicted: [4.4, 2.2] and [48, 32] / 13. What is
    left, [2, 1], [-0.4, 0.8] and [-48, 72] / 13, has the features, of which one is kept; each is decoded times 8.
    """
    x = torch.tensor([[[6.0, 2.0], [10.0, 6.0], [2.0, 16.0]]])
    sae = load(temporal(tmp_path / "layer_12" / "temporal"))
    f = sae.encode(x).dense()
    torch.testing.assert_close(f, torch.tensor([[[2.0, 0.0], [0.0, 0.8], [0.0, 72 / 13]]]))
    scaled = torch.tensor([[[16.0, 0.0], [4.4, 8.6], [48 / 13, 608 / 13]]])
    torch.testing.assert_close(sae.decode(f), 2 * (scaled + torch.tensor([1.0, 0.0])))
    assert (sae.info.layer, sae.info.d_sae, sae.stated_l0) == ("12", 2, 1)
    with pytest.raises(DictionaryError, match=r"\(1, 2\) vectors to decode, \(1, 3\) encoded last"):
        sae.decode(f[:, :2])
    plain = load(temporal(tmp_path / "relu", sae_diff_type="relu", kval_topk=None))
    assert plain.encode(x).dense()[0, 0].tolist() == [2.0, 1.0] and plain.info.layer == ""
    untied = load(temporal(tmp_path / "untied", {"E": 16 * torch.eye(2)}, tied_weights=False))
    assert untied.encode(x).dense()[0, 0].tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        ({}, {"sae_diff_type": "batchtopk"}, "conf.yaml says sae_diff_type 'batchtopk'; known are relu, topk"),
        ({}, {"n_heads": "1"}, "n_heads = '1', of type str: int needed"),
        ({}, {"n_heads": 3}, "conf.yaml says n_heads 3.* of 2 features"),
        ({}, {"scaling_factor": -1.0}, "scaling_factor -1.0"),
        ({}, {"kval_topk": 3}, "does not encode and decode activations"),
        ({}, {"n_attn_layers": 2}, "holds .*this kind of dictionary has .*attn_layers.1.k_ctx"),
        ({"E": torch.eye(2)}, {}, "holds .*'E'"),
        ({"D": torch.zeros(4, 2)}, {}, r"attn_layers.0.k_ctx.weight has shape \(2, 2\), conf.yaml .* \(4, 4\)"),
        ({"D": torch.full((2, 2), torch.inf)}, {}, "D holds NaN or infinity in 4 of 4"),
    ],
)
def test_temporal_feature_analysis_that_does_not_fit(tmp_path, weights, changes, message):
    folder = temporal(tmp_path / "d", weights, **changes)
    with pytest.raises(DictionaryError, match=message) as error:
        load(folder)
    assert str(folder) in str(error.value)
