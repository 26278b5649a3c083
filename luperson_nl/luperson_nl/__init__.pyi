__version__: str
from .data.label_truth import LabelTruth as LabelTruth
from .data.street import Crops as Crops
from .data.street import Street as Street
