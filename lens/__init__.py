"""TemporalLens: position-aware sparse autoencoders. The names below are the public ones."""

from lens._names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Study": "lens.config",
        "ConfigError": "lens.config",
        "LanguageModel": "lens.activations.language_model",
        "extract": "lens.activations.extract",
        "open_layer": "lens.activations.store",
        "SAE": "lens.sae.model",
        "SAEConfig": "lens.sae.model",
        "TrainConfig": "lens.sae.presets",
        "train_config": "lens.sae.presets",
        "train_layer": "lens.sae.train",
        "fit": "lens.sae.fit",
        "load": "lens.sae.load",
        "split_text": "lens.activations.split",
        "reconstruct": "lens.measure.reconstruction",
        "splice": "lens.measure.fidelity",
        "profile": "lens.report.position_profile",
        "PositionProfile": "lens.report.position_profile",
    },
)
