"""The check that JAX can use the requested platform."""

import os

from dither._errors import RequestError


def check_platform() -> None:
    """Check that the platform in JAX_PLATFORMS is available. Errors: `RequestError`."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        why = (
            (str(error).splitlines() or ["it is not available"])[0]
            .partition(" (set ")[0]
            .rstrip(".")
        )
        raise RequestError(
            f"JAX cannot use JAX_PLATFORMS={asked}: {why}; unset it, or install a JAX that can."
        ) from None
