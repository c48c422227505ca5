"""Sparse dictionaries of language models, by position in the sequence.

    train, held_out = lens.split_text("mine.txt")
    sae = lens.fit("smollm2-135m", 14, train, "folder")          # or lens.load("a/dictionary")
    profile = lens.profile(sae, "smollm2-135m", held_out)

split_text       a text in two: to train on, and held out
load_model       a language model by name or folder
extract          its residual stream, stored
fit              train a dictionary: Dictionary
load             open one, of any library; from_pretrained: ours, from the hub
profile          what it does at each position: PositionProfile (tables, figures)
Activations      vectors of any sequence, to profile on without a language model
audit            does a pipeline number positions as you think?
Dictionary       encode activations to Codes, decode them; Info says what it is
export_saelens   for SAELens; push_to_hub, SAEBenchAdapter
ConfigError, DictionaryError    what is raised, with what to do about it
"""

from lens._names import lazy as _lazy

__version__ = "0.2.0"

# No `__all__`: with one, `help(lens)` shows every member of every class before anything else.
__getattr__, __dir__ = _lazy(
    __name__,
    {
        "fit": "lens.training.fit",
        "load": "lens.dictionaries.load",
        "profile": "lens.profiling.profile",
        "Activations": "lens.profiling.recorded",
        "audit": "lens.auditing.audit",
        "PositionProfile": "lens.profiling.position_profile",
        "Dictionary": "lens.dictionaries.dictionary",
        "Info": "lens.dictionaries.dictionary",
        "Codes": "lens.dictionaries.codes",
        "load_model": "lens.activations.models:load",
        "split_text": "lens.activations.split",
        "extract": "lens.activations.extract",
        "export_saelens": "lens.dictionaries.export",
        "SAEBenchAdapter": "lens.dictionaries.saebench",
        "push_to_hub": "lens.dictionaries.hub",
        "from_pretrained": "lens.dictionaries.hub",
        "ConfigError": "lens.errors",
        "DictionaryError": "lens.errors",
    },
)
