"""From predictions to the numbers of the benchmarks: pure functions of NumPy arrays.

Errors, probabilities and rates are fractions, logarithms natural. Tables are mappings from the name
of a corruption or perturbation, so no order has to be agreed on. The baselines of the literature
are in `augmix.published`, intervals of all this in `augmix.intervals`.
"""

from augmix.metrics.calibration import Bins as Bins
from augmix.metrics.calibration import Counts as Counts
from augmix.metrics.calibration import Sums as Sums
from augmix.metrics.calibration import adaptive_bins as adaptive_bins
from augmix.metrics.calibration import curve_from_bins as curve_from_bins
from augmix.metrics.calibration import ece_from_bins as ece_from_bins
from augmix.metrics.calibration import equal_width_bins as equal_width_bins
from augmix.metrics.calibration import expected_calibration_error as expected_calibration_error
from augmix.metrics.calibration import maximum_absolute_deviation as maximum_absolute_deviation
from augmix.metrics.calibration import maximum_calibration_error as maximum_calibration_error
from augmix.metrics.calibration import mce_from_bins as mce_from_bins
from augmix.metrics.calibration import mean_absolute_deviation as mean_absolute_deviation
from augmix.metrics.calibration import reliability_curve as reliability_curve
from augmix.metrics.calibration import rms_calibration_error as rms_calibration_error
from augmix.metrics.calibration import rms_from_bins as rms_from_bins
from augmix.metrics.checks import Confidence as Confidence
from augmix.metrics.checks import Correct as Correct
from augmix.metrics.errors import Severities as Severities
from augmix.metrics.errors import corruption_error as corruption_error
from augmix.metrics.errors import error_by_severity as error_by_severity
from augmix.metrics.errors import error_rate as error_rate
from augmix.metrics.errors import mean_corruption_error as mean_corruption_error
from augmix.metrics.errors import mean_error as mean_error
from augmix.metrics.errors import relative_corruption_error as relative_corruption_error
from augmix.metrics.errors import relative_mean_corruption_error as relative_mean_corruption_error
from augmix.metrics.scores import aurra as aurra
from augmix.metrics.scores import brier_score as brier_score
from augmix.metrics.scores import negative_log_likelihood as negative_log_likelihood
from augmix.metrics.scores import soft_f1 as soft_f1
from augmix.metrics.stability import flip_probability as flip_probability
from augmix.metrics.stability import flip_rate as flip_rate
from augmix.metrics.stability import mean_flip_rate as mean_flip_rate
from augmix.metrics.stability import mean_top5_distance as mean_top5_distance
from augmix.metrics.stability import top5_distance as top5_distance
from augmix.metrics.stability import zipf_distance as zipf_distance
