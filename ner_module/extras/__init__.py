"""What one may want beside training. Each folder can be deleted; nothing outside imports it."""
