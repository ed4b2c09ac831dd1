"""From files and hub datasets to batches of subwords: reading, alignment, batching."""
