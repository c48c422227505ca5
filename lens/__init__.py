"""TemporalLens: position-aware sparse autoencoders. The names below are the public ones."""

from lens._names import lazy

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Study": "lens.study.params",
        "ConfigError": "lens.study.params",
        "LanguageModel": "lens.activations.language_model",
        "load_model": "lens.activations.language_model:load",
        "extract": "lens.activations.extract",
        "open_layer": "lens.activations.store",
        "Codes": "lens.dictionaries.codes",
        "Info": "lens.dictionaries.dictionary",
        "Recipe": "lens.training.recipe",
        "recipe": "lens.training.recipe:build",
        "train_layer": "lens.training.train",
        "fit": "lens.training.fit",
        "load": "lens.dictionaries.load",
        "Dictionary": "lens.dictionaries.dictionary",
        "DictionaryError": "lens.dictionaries.dictionary",
        "check_fits": "lens.dictionaries.compatible",
        "export_saelens": "lens.dictionaries.export",
        "SAEBenchAdapter": "lens.dictionaries.saebench",
        "push_to_hub": "lens.dictionaries.hub",
        "from_pretrained": "lens.dictionaries.hub",
        "split_text": "lens.activations.split",
        "reconstruct": "lens.measure.reconstruction",
        "splice": "lens.measure.fidelity",
        "profile": "lens.profiling.position_profile",
        "PositionProfile": "lens.profiling.position_profile",
    },
)
