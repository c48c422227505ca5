"""Files of Qwen Scope, Goodfire and Llama Scope, with the values they must give; and what broken ones get."""

import pytest
import torch

from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import LINEAR, RELU, WEIGHTS, X, llama_scope, llama_scope_r1, qwen_scope


def test_qwen_scope(tmp_path):
    release = tmp_path / "models--Qwen--SAE-Res-Qwen3.5-9B-Base-W64K-L0_2" / "snapshots" / "0a1b"
    file = qwen_scope(release)
    for source in (file, release):
        sae = load(source)
        assert sae.encode(X).dense().tolist() == [[2.0, 0.0, 0.0], [0.5, 1.0, 0.0]]
        assert sae(X).tolist() == [[12.0, 0.0], [10.5, 2.0]]
        assert (sae.info.model, sae.info.layer, sae.stated_l0) == ("Qwen/Qwen3.5-9B-Base", "8", 2)
    qwen_scope(release, 9)
    with pytest.raises(DictionaryError, match="holds layer8.sae.pt and layer9.sae.pt: .* or give one of these files"):
        load(release)
    with pytest.raises(DictionaryError, match="layer8.sae.pt holds .*'W_skip'"):
        load(qwen_scope(release, W_skip=torch.zeros(2, 2)))
    with pytest.raises(DictionaryError, match="a folder around it as the release, such as SAE-Res-Qwen3"):
        load(qwen_scope(tmp_path / "elsewhere"))


def test_goodfire(tmp_path):
    tmp_path.joinpath("d").mkdir()
    file = tmp_path / "d" / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    weights = {**LINEAR, "decoder.bias": WEIGHTS["b_dec"]}
    for state in (weights, {name.replace("coder.", "coder_linear."): value for name, value in weights.items()}):
        torch.save(state, file)
        for source in (file, file.parent):
            sae = load(source)
            assert sae.encode(X).dense().tolist() == RELU
            assert sae(X).tolist() == [[12.0, 0.0], [11.0, 2.5]]
            assert (sae.info.model, sae.info.layer) == ("Llama-3.1-8B-Instruct", "19")
    with pytest.raises(DictionaryError, match="has to be called <model>-SAE-l<layer>.pt"):
        load(file.rename(file.with_name("mine-SAE-last.pt")))


def test_llama_scope(tmp_path):
    """Of x / 2; u = x/2 W_enc + b_enc is [1, -1.5, -1.5] and [0.25, 0.5, -0.25]."""
    sae = load(llama_scope(tmp_path / "d"))
    torch.testing.assert_close(sae.encode(X).dense(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    torch.testing.assert_close(sae(X), torch.tensor([[22.0, 0.0], [20.0, 2.0]]))
    found = sae.info
    assert (found.model, found.hook, found.layer) == ("meta-llama/Llama-3.1-8B", "blocks.8.hook_resid_post", "8")
    assert sae.stated_l0 == 50
    higher = load(llama_scope(tmp_path / "higher", jump_relu_threshold=1.1))  # 0.55 of scaled inputs
    torch.testing.assert_close(higher.encode(X).dense(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_llama_scope_of_the_distillation(tmp_path):
    """As above; thresholds 0.5, 0.4, 0.4 are of features times the norms of their decoder rows: 1, 2 and sqrt(2)."""
    sae = load(llama_scope_r1(tmp_path / "d"))
    x = torch.tensor([[2.0, -3.0], [0.5, 0.5], [0.5, 0.3]])
    torch.testing.assert_close(
        sae.encode(x).dense(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 0.0]])
    )
    torch.testing.assert_close(sae(x[:1]), torch.tensor([[22.0, 0.0]]))
    plain = load(llama_scope_r1(tmp_path / "plain", sparsity_include_decoder_norm=False))
    torch.testing.assert_close(plain.encode(x).dense()[1], torch.zeros(3))
    assert (plain.info.model, plain.info.layer) == ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "8")
    assert plain.stated_l0 is None
    with pytest.raises(DictionaryError, match="an option of SAELens, this is from Llama Scope"):
        load(tmp_path / "plain", norm_scaling_factor=2.0)


@pytest.mark.parametrize("made", [llama_scope, llama_scope_r1])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act_fn": "topk"}, "act_fn = 'topk'; known is 'jumprelu'"),
        ({"norm_activation": "token-wise"}, "norm_activation = 'token-wise'; known is 'dataset-wise'"),
        ({"hook_point_out": "blocks.8.hook_mlp_out"}, "it reads something else than it writes"),
        ({"d_sae": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ({"d_sae": None, "expansion_factor": 2}, r"d_sae 4\) says"),
    ],
)
def test_llama_scope_settings_that_do_not_fit(tmp_path, made, changes, message):
    with pytest.raises(DictionaryError, match=message):
        load(made(tmp_path / "d", **changes))
