"""Metrics of the benchmarks: pure functions of NumPy arrays, computed nowhere else.

Functions named ``image_*`` give one number for each image or sequence, ``*_from_bins`` take binned
predictions, the others a whole set. Errors, probabilities and rates are fractions, logarithms
natural. Tables are mappings from the name of a corruption or perturbation. The baselines of the
literature are in `augmix.published`, confidence intervals in `augmix.bootstrap`.
"""

from augmix.metrics.calibration import *
from augmix.metrics.errors import *
from augmix.metrics.scores import *
from augmix.metrics.stability import *
from augmix.metrics.uncertainty import *
