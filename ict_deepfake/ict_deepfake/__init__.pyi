from .losses import ict_loss as ict_loss
from .margin import build_head as build_head
from .models.binary import BinaryNetwork as BinaryNetwork
from .models.ict import ICT as ICT
from .models.ict import Embeddings as Embeddings
from .models.retinaface import RetinaFace as RetinaFace
from .pretrained import Detector as Detector
from .pretrained import load as load
from .published import import_published as import_published
from .references import ReferenceSet as ReferenceSet
from .references import load_references as load_references
from .scores import claim as claim
from .scores import consistency as consistency
from .scores import reference_scores as reference_scores

__version__: str
