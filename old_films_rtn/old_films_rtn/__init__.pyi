from .compositing import Compositing as Compositing
from .models.colour import ColourNetwork as ColourNetwork
from .models.discriminator import TemporalPatchDiscriminator as TemporalPatchDiscriminator
from .models.raft import RAFT as RAFT
from .models.rtn import RTN as RTN
from .models.rtn import warp as warp
from .models.swin import RestorationTransformer as RestorationTransformer
from .pretrained import Colourer as Colourer
from .pretrained import Restorer as Restorer
from .pretrained import load as load
from .pretrained import load_colour as load_colour

__version__: str
