"""What thresholds, calibrated scores and candidates reach, measured by ``validate`` on validation data."""

from ner_module.offers import Offer

OFFER = Offer(
    callbacks="ner_module.extras.operating_points.callback:callbacks",
    point="ner_module.extras.operating_points.choice:choose",
    needs=("analysis",),
)
