"""Whether JAX can compute where it is told to."""

import os

from dither._errors import RequestError


def check_platform() -> None:
    """Check that what JAX_PLATFORMS names is there. Errors: `RequestError`."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        why = (str(error).splitlines() or ["there is none"])[0].partition(" (set ")[0].rstrip(".")
        raise RequestError(
            f"JAX cannot compute on JAX_PLATFORMS={asked}: {why}; unset it, or install a JAX that "
            "can."
        ) from None
