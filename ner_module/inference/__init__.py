"""A trained model in use: NERTagger, and a model as a folder."""
