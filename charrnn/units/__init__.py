"""What a unit sees: the simple properties of a text that explain the activity of single units.

`properties` are those of the text, `activity` is that of the units, `search` brings the two together.
"""

from charrnn.units.activity import Unit, activity_of, kind_of
from charrnn.units.properties import PROPERTIES, values_of
from charrnn.units.search import LEAST_R2, Correlations, Finding

__all__ = ["LEAST_R2", "PROPERTIES", "Correlations", "Finding", "Unit", "activity_of", "kind_of", "values_of"]
