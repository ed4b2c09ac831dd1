"""Optional features. Each folder can be deleted; nothing outside imports it."""
