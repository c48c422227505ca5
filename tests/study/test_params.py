import dataclasses
import json

import pytest

from lens import checkout
from lens.errors import ConfigError
from lens.study.params import Study

RECORD = {"stage": "01_extract", "parameters": {"study": "first.yaml"}, "wall_seconds": 1.5, "cpus": 2}
GOOD = """
study: tried
root: .
model: random:gemma-3-tiny
layers: [1, embedding]
corpus: {train: tiny-shakespeare, test: shakespeare-held-out}
windows: {length: 32, train: 96, test: 64, fidelity: 8}
dictionary: {expansion: 1}
training: {steps: 60, overrides: {lr: 3e-4}}
recipe_file: paper/recipes.yaml
variants: [standard, temporallens]
seeds: [0, 1]
ablations: {layers: [1], variants: [uniform_weights]}
"""


def load(tmp_path, text):
    path = tmp_path / "tried.yaml"
    path.write_text(text)
    return Study.load(path)


def test_default_study_is_quick_and_every_study_reads():
    assert Study.load().name == "quick"
    assert Study.load("quick") == dataclasses.replace(Study.load(), params_file=Study.load("quick").params_file)
    for path in checkout.root().glob("studies/*/params.yaml"):
        study = Study.load(path.parent.name)
        assert study.name == path.parent.name
        assert study.results == checkout.root() / "results" / study.name


def test_yaml_is_read_as_version_1_2(tmp_path):
    study = load(tmp_path, GOOD)
    assert study.training.overrides["lr"] == 3e-4  # YAML 1.1 would read a text
    assert study.layers == (1, "embedding")


def test_controls_may_have_fewer_seeds(tmp_path):
    study = load(tmp_path, GOOD)
    assert study.main == (1,) and study.seeds_at("embedding") == study.ablation_seeds == (0, 1)
    fewer = load(tmp_path, GOOD + "control_seeds: [1]\n")
    assert fewer.seeds_at("embedding") == (1,) and fewer.seeds_at(1) == (0, 1)


def test_out_redirects_everything_that_is_written(tmp_path):
    study = Study.load("quick", tmp_path / "try")
    assert study.results == tmp_path / "try"
    assert study.dictionaries("dictionaries", 3).is_relative_to(tmp_path)
    assert Study.load("quick", "results/quick").out is None


@pytest.mark.parametrize("out", ["", ".", "..", "/", "results", "results/full", "notebooks", "scratch/../lens", "x"])
def test_a_trial_replaces_no_file_of_the_project(out):
    with pytest.raises(ConfigError, match="out: .* holds files of the project, .* under scratch/"):
        Study.load("quick", out)


def test_a_trial_wants_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="out: .*file is a file: name a folder"):
        Study.load("quick", tmp_path / "file")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model: random:gemma-3-tiny", "modle: x", "unknown parameter 'modle'.*'model'"),
        ("seeds: [0, 1]", "", "parameter 'seeds' is missing"),
        ("study: tried", "", "parameter 'study' is missing"),
        ("seeds: [0, 1]", "seeds: 3", "seeds: expected a list, found 3"),
        ("seeds: [0, 1]", "seeds: [0, x]", "seeds: expected int, found 'x'"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "seeds lists a value twice"),
        ("seeds: [0, 1]", "seeds: [0, 1]\ncalibration: {seeds: [1, 1]}", "calibration.seeds lists a value twice"),
        ("seeds: [0, 1]", "seeds: [0, 1]\ncalibration: {seeds: [-1]}", "calibration.seeds must be .* at least 0"),
        ("seeds: [0, 1]", "seeds: [0, -1]", "seeds must be a whole number of at least 0 .*, found -1"),
        (
            "seeds: [0, 1]",
            f"seeds: [0, {2**32}]",
            "seeds must be a whole number of .* at most 4294967295, found 4294967296",
        ),
        ("study: tried", "study: Benchmarks", "study: Benchmarks is the name of a folder of the project"),
        ("study: tried", "study: pool", "study: pool is the name of a folder of the project"),
        ("seeds: [0, 1]", "seeds: []", r"seeds \(count\) must be at least 1"),
        ("steps: 60", "steps: 0", "training.steps must be at least 1"),
        ("steps: 60", "steps: yes", "steps: expected int, found 'yes'"),
        ("layers: [1, embedding]", "layers: [-1]", "layer -1 is neither"),
        ("layers: [1, embedding]", "layers: [1, embeding]", "layer 'embeding' is neither"),
        ("ablations: {layers: [1]", "ablations: {layers: [2]", r"ablations.layers \[2\] are not among"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nmain_layers: [3]", r"main_layers \[3\] are not among"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nroles: {null: standart}", r"roles.null names .*did you mean 'standard'"),
        ("seeds: [0, 1]", "seeds: [0, 1]\ncontrol_seeds: [2]", r"control_seeds \[2\] are not among"),
        ("fidelity: 8", "fidelity: 80", r"windows.fidelity \(80\) is more than windows.test"),
        ("expansion: 1", "expansion: 0", "dictionary.expansion must be at least 1"),
        ("seeds: [0, 1]", "seeds: [0, 1]\nroles: {methd: standard}", "unknown parameter 'methd'.*'method'"),
        ("length: 32", "length: 32, lenght: 3", "unknown parameter 'lenght'.*'length'"),
        (
            "[standard, temporallens]",
            "[standard, temporalens]",
            "no recipe for the variant .temporalens. .did you mean",
        ),
        ("recipe_file: paper/recipes.yaml", "", "no recipe for the variant .standard.: write it .* there are none"),
        ("[standard, temporallens]", "[standard, mean]", "'mean' is what tables call something else than a trained"),
        ("study: tried", "study: [", "tried.yaml cannot be read .*line 2.*: correct it"),
        ("layers: [1, embedding]", "layers: [1", "tried.yaml cannot be read .*line.*: correct it"),
        *(
            ("study: tried", f"study: {name}", "study: .* names a folder of results")
            for name in ("../x", "/x", "a/b", "''", "..", ".x", "-x", '"a\\0b"', '"x\\n"')
        ),
        *(
            ("seeds: [0, 1]", f"seeds: [0, 1]\nrecipes: {{{name}: {{}}}}", "recipe: .* names a folder of results")
            for name in ("../x", "/x", "a/b", "''", "..")
        ),
        ("study: tried", "study: quick", r"study: quick is the study of .*params\.yaml: give"),
        ("study: tried", "study: smollm2", r"study: smollm2 is the study of .*smollm2/params\.yaml: give"),
        ("study: tried", "study: tried\nparams_file: params.yaml", r"write params_file: .*tried\.yaml, root: .*study"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, GOOD.replace(old, new))


def test_a_file_says_its_own_path(tmp_path):
    path = tmp_path / "tried.yaml"
    assert load(tmp_path, f"{GOOD}params_file: {path}\n").name == "tried"


def test_a_study_keeps_the_results_of_one_file(tmp_path, monkeypatch):
    """Results that say with which file they were made are not continued with another one, while that one is there."""
    for name in ("paper", "studies"):
        (tmp_path / name).symlink_to(checkout.root() / name)
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    assert load(tmp_path, GOOD).name == "tried"
    runs = tmp_path / "results" / "tried" / "runs"
    runs.mkdir(parents=True)
    (runs / "01_extract.json").write_text(json.dumps(RECORD))
    assert load(tmp_path, GOOD).name == "tried"  # it was renamed
    (tmp_path / "first.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"study: tried is the study of .*first\.yaml: give"):
        load(tmp_path, GOOD)
    (runs / "01_extract.json").write_text("{")
    with pytest.raises(ConfigError, match=r"runs/01_extract\.json cannot be read .*delete it"):
        load(tmp_path, GOOD)
    (runs / "01_extract.json").write_text(json.dumps(RECORD))
    assert Study.load(tmp_path / "first.yaml").name == "tried"


def test_unknown_study_lists_those_there_are():
    for name in ("..", ".", "smoke/../.."):  # a name is no path below studies/
        with pytest.raises(ConfigError, match="no study or parameter file"):
            Study.load(name)
    with pytest.raises(ConfigError, match="no study or parameter file 'quik'.*'quick'.*smoke"):
        Study.load("quik")
