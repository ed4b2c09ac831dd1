"""Faster kernels and fitting threads for training on CPUs."""

from ner_module.offers import Offer

OFFER = Offer(
    callbacks="ner_module.extras.cpu.kernels:callbacks",
    model="ner_module.extras.cpu.kernels:use_cpu_kernels",
    start="ner_module.extras.cpu.threads:limit_threads",
)
