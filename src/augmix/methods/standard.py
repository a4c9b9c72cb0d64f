"""Methods that draw nothing but crops and flips: they differ in the network and the images."""

from dataclasses import dataclass
from typing import ClassVar

from augmix.methods.registry import Method, register_method


@register_method("standard")
@dataclass(frozen=True, slots=True, kw_only=True)
class Standard(Method):
    """Crop and mirror only; cross-entropy."""

    title: ClassVar[str] = "Standard"
    source: ClassVar[str] = "the baseline of Hendrycks et al. (2020)"


@register_method("maxblur")
@dataclass(frozen=True, slots=True, kw_only=True)
class MaxBlur(Method):
    """The network's maps halved behind a blur; crop and mirror; cross-entropy."""

    title: ClassVar[str] = "MaxBlur pool"
    source: ClassVar[str] = "Zhang (2019)"

    def network_name(self, name: str) -> str:
        """The blur-pooled form of the network."""
        from augmix.models import maxblur_name

        return maxblur_name(name)


@register_method("sin")
@dataclass(frozen=True, slots=True, kw_only=True)
class StylisedImages(Method):
    """Images and their stylised copies; crop and mirror; cross-entropy."""

    title: ClassVar[str] = "SIN"
    source: ClassVar[str] = "Geirhos et al. (2019)"
    needs_stylised: ClassVar[bool] = True
