"""Each plug-in in the battery of its family."""

from bumps import Bumps
from gain_control import GainControl
from random_search import RandomSearch
from two_rings import TwoRings
from uniform_code import Uniform

from dither.testing import battery

TestBumps = battery(Bumps)
TestGainControl = battery(GainControl)
TestRandomSearch = battery(RandomSearch)
TestTwoRings = battery(TwoRings)
TestUniform = battery(Uniform)
