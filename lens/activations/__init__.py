"""Text and a language model in, activations out."""
