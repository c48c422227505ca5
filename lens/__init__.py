"""TemporalLens: position-aware sparse autoencoders. The names below are the public ones."""

from lens._names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Study": "lens.config",
        "ConfigError": "lens.config",
        "LanguageModel": "lens.activations.language_model",
        "load_model": "lens.activations.language_model:load",
        "extract": "lens.activations.extract",
        "open_layer": "lens.activations.store",
        "SAE": "lens.sae.model",
        "SAEConfig": "lens.sae.model",
        "TrainConfig": "lens.sae.presets",
        "train_config": "lens.sae.presets",
        "train_layer": "lens.sae.train",
        "fit": "lens.sae.fit",
        "load": "lens.sae.load",
        "Dictionary": "lens.sae.dictionary",
        "DictionaryError": "lens.sae.dictionary",
        "check_fits": "lens.sae.compatible",
        "export_saelens": "lens.sae.export",
        "SAEBenchAdapter": "lens.sae.saebench",
        "push_to_hub": "lens.sae.hub",
        "from_pretrained": "lens.sae.hub",
        "split_text": "lens.activations.split",
        "reconstruct": "lens.measure.reconstruction",
        "splice": "lens.measure.fidelity",
        "profile": "lens.report.position_profile",
        "PositionProfile": "lens.report.position_profile",
    },
)
