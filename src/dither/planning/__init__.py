"""Planning: predicting the cost of a training before it is run."""

from dither.planning.predict import Prediction as Prediction
from dither.planning.predict import predict as predict
from dither.planning.run import predict_run as predict_run
