"""Stand-ins for what cannot be had offline; only servers of tests, benchmarks and pictures load this node
package."""


async def comfy_entrypoint():
    """The ComfyUI extension with the one stand-in node."""
    from .nodes import StandInExtension

    return StandInExtension()
