"""What a run leaves behind: report, model card, exported models, rendered entities."""
