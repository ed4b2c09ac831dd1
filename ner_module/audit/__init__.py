"""What is wrong with a dataset, and with a training planned on it, before a GPU hour is spent."""
