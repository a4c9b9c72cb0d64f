"""Metrics of the benchmarks: pure functions of NumPy arrays, and the only place they are computed.

Functions named ``image_*`` give one number for each image or sequence, ``*_from_bins`` take binned
predictions, the others a whole set. Errors, probabilities and rates are fractions, logarithms
natural. Tables are mappings from the name of a corruption or perturbation. The baselines of the
literature are in `augmix.published`, confidence intervals in `augmix.bootstrap`.
"""

from augmix.metrics.calibration import accuracy_from_bins as accuracy_from_bins
from augmix.metrics.calibration import adaptive_bins as adaptive_bins
from augmix.metrics.calibration import adaptive_calibration_error as adaptive_calibration_error
from augmix.metrics.calibration import classwise_calibration_error as classwise_calibration_error
from augmix.metrics.calibration import classwise_sums as classwise_sums
from augmix.metrics.calibration import confidence_from_bins as confidence_from_bins
from augmix.metrics.calibration import curve_from_bins as curve_from_bins
from augmix.metrics.calibration import ece_from_bins as ece_from_bins
from augmix.metrics.calibration import equal_mass_bins as equal_mass_bins
from augmix.metrics.calibration import equal_mass_ends as equal_mass_ends
from augmix.metrics.calibration import equal_width_bins as equal_width_bins
from augmix.metrics.calibration import expected_calibration_error as expected_calibration_error
from augmix.metrics.calibration import image_classwise_gap as image_classwise_gap
from augmix.metrics.calibration import maximum_absolute_deviation as maximum_absolute_deviation
from augmix.metrics.calibration import maximum_calibration_error as maximum_calibration_error
from augmix.metrics.calibration import mce_from_bins as mce_from_bins
from augmix.metrics.calibration import mean_absolute_deviation as mean_absolute_deviation
from augmix.metrics.calibration import pool_bins as pool_bins
from augmix.metrics.calibration import reliability_curve as reliability_curve
from augmix.metrics.calibration import rms_calibration_error as rms_calibration_error
from augmix.metrics.calibration import rms_from_bins as rms_from_bins
from augmix.metrics.calibration import smooth_calibration_error as smooth_calibration_error
from augmix.metrics.errors import class_errors as class_errors
from augmix.metrics.errors import confusion_matrix as confusion_matrix
from augmix.metrics.errors import corruption_error as corruption_error
from augmix.metrics.errors import error_by_severity as error_by_severity
from augmix.metrics.errors import error_rate as error_rate
from augmix.metrics.errors import image_corruption_error as image_corruption_error
from augmix.metrics.errors import mean_corruption_error as mean_corruption_error
from augmix.metrics.errors import mean_error as mean_error
from augmix.metrics.errors import relative_corruption_error as relative_corruption_error
from augmix.metrics.errors import relative_mean_corruption_error as relative_mean_corruption_error
from augmix.metrics.scores import ImageScores as ImageScores
from augmix.metrics.scores import aurra as aurra
from augmix.metrics.scores import average_precision as average_precision
from augmix.metrics.scores import brier_score as brier_score
from augmix.metrics.scores import image_brier as image_brier
from augmix.metrics.scores import image_nll as image_nll
from augmix.metrics.scores import image_scores as image_scores
from augmix.metrics.scores import log_softmax as log_softmax
from augmix.metrics.scores import negative_log_likelihood as negative_log_likelihood
from augmix.metrics.scores import soft_f1 as soft_f1
from augmix.metrics.stability import flip_probability as flip_probability
from augmix.metrics.stability import flip_rate as flip_rate
from augmix.metrics.stability import image_flips as image_flips
from augmix.metrics.stability import image_top5_distance as image_top5_distance
from augmix.metrics.stability import mean_flip_rate as mean_flip_rate
from augmix.metrics.stability import mean_top5_distance as mean_top5_distance
from augmix.metrics.stability import num_pairs as num_pairs
from augmix.metrics.stability import top5_distance as top5_distance
from augmix.metrics.stability import top_classes as top_classes
from augmix.metrics.stability import zipf_distance as zipf_distance
from augmix.metrics.uncertainty import CONFORMAL as CONFORMAL
from augmix.metrics.uncertainty import augrc as augrc
from augmix.metrics.uncertainty import aurc as aurc
from augmix.metrics.uncertainty import auroc as auroc
from augmix.metrics.uncertainty import conformal_scores as conformal_scores
from augmix.metrics.uncertainty import conformal_threshold as conformal_threshold
from augmix.metrics.uncertainty import coverage_at_risk as coverage_at_risk
from augmix.metrics.uncertainty import energy_score as energy_score
from augmix.metrics.uncertainty import fpr_at_recall as fpr_at_recall
from augmix.metrics.uncertainty import label_scores as label_scores
from augmix.metrics.uncertainty import max_logit as max_logit
from augmix.metrics.uncertainty import prediction_sets as prediction_sets
from augmix.metrics.uncertainty import risk_at_coverage as risk_at_coverage
from augmix.metrics.uncertainty import risk_coverage_curve as risk_coverage_curve
from augmix.metrics.uncertainty import set_coverage as set_coverage
from augmix.metrics.uncertainty import set_size as set_size
