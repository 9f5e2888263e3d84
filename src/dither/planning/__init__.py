"""Planning: what a training will take, before it is made."""

from dither.planning.predict import Prediction as Prediction
from dither.planning.predict import predict as predict
from dither.planning.run import predict_run as predict_run
