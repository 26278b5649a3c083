__version__: str
from .data.label_truth import LabelTruth as LabelTruth
from .data.market import ReidData as ReidData
from .data.market import read_reid_data as read_reid_data
from .data.store import Store as Store
from .data.store import open_store as open_store
from .data.street import Crops as Crops
from .data.street import Street as Street
from .retrieval import Features as Features
from .retrieval import Scores as Scores
from .retrieval import evaluate as evaluate
from .retrieval import expand as expand
from .retrieval import reassociate as reassociate
from .tracklets.tracker import Tracker as Tracker
