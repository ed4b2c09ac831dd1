"""What a run leaves behind, made after training from its own files."""
