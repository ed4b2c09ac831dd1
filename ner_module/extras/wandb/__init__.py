"""What a Weights & Biases run holds beyond metrics."""

from ner_module.offers import Offer

OFFER = Offer(
    callbacks="ner_module.extras.wandb.callback:callbacks",
    needs=("analysis", "provenance"),
    after=("audit", "health", "report", "throughput"),
)
