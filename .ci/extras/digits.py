from dither.tasks import MNIST5000

assert len(MNIST5000().load().test_inputs) == 1000
