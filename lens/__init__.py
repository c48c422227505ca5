"""TemporalLens: position-aware sparse autoencoders. The names below are the public ones."""

from lens._names import lazy

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "fit": "lens.training.fit",
        "load": "lens.dictionaries.load",
        "profile": "lens.profiling.position_profile",
        "audit": "lens.auditing.audit",
        "PositionProfile": "lens.profiling.position_profile",
        "Dictionary": "lens.dictionaries.dictionary",
        "Info": "lens.dictionaries.dictionary",
        "Codes": "lens.dictionaries.codes",
        "load_model": "lens.activations.language_model:load",
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
