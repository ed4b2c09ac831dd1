"""Entity metrics: spans and counts on tensors, a torchmetrics ``Metric``, and what one reads off the predictions."""
