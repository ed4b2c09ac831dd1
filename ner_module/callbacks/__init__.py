"""What happens around training: the results table, predictions files, save points."""
