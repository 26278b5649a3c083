__version__: str

from .models import CvTBackbone as CvTBackbone
from .models import CvTClassifier as CvTClassifier
from .models import SwinBackbone as SwinBackbone
from .models import SwinClassifier as SwinClassifier
from .models import SwinMoE as SwinMoE
from .models import backbone as backbone
from .models import classifier as classifier
from .moe import FeedForward as FeedForward
from .moe import ResidualMoE as ResidualMoE
from .moe import Routing as Routing
from .moe import apply_experts as apply_experts
from .moe import auxiliary_losses as auxiliary_losses
from .moe import convert as convert
from .moe import dense_state_dict as dense_state_dict
from .moe import describe as describe
from .moe import factor as factor
from .moe import merge as merge
from .moe import moe_layers as moe_layers
from .moe import to_dense as to_dense
from .published import build_backbone as build_backbone
from .published import build_classifier as build_classifier
from .published import build_swin_moe as build_swin_moe
from .published import import_backbone as import_backbone
from .published import import_classifier as import_classifier
from .published import import_swin_moe as import_swin_moe
