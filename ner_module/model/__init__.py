"""The tagger itself: an encoder with a token-classification head, its optimiser and its decoding."""
