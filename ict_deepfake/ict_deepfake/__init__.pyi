from .data.identities import open_identities as open_identities
from .data.pairs import PairBatches as PairBatches
from .data.test_sets import open_test_set as open_test_set
from .degradations import TrainingDegradation as TrainingDegradation
from .degradations import degrade as degrade
from .evaluation import evaluate as evaluate
from .losses import ict_loss as ict_loss
from .margin import build_head as build_head
from .models.binary import BinaryNetwork as BinaryNetwork
from .models.ict import ICT as ICT
from .models.ict import Embeddings as Embeddings
from .models.retinaface import RetinaFace as RetinaFace
from .objective import Objective as Objective
from .pretrained import Detector as Detector
from .pretrained import load as load
from .procedural import Population as Population
from .published import import_published as import_published
from .references import ReferenceSet as ReferenceSet
from .references import load_references as load_references
from .scores import consistency as consistency
from .scores import reference_scores as reference_scores
from .swapping import Recipe as Recipe
from .swapping import swap as swap
from .swapping import swap_pairs as swap_pairs

__version__: str
