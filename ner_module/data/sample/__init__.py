"""The bundled corpus: a seeded generator and its output."""
