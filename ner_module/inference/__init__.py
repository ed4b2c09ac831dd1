"""Using a trained model: NERTagger, and exported model folders."""
