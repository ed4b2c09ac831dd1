"""From files and hub datasets to batches of subword tokens: reading, alignment, batching."""
